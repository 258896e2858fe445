"""The versions of a job that arrive while its claim is being answered: one may end the run before it is known here."""

from pathlib import Path
from typing import Any

import pytest

from curation.api.digest import template_digest
from curation.cluster.resources import JOBS
from curation.reconciler.jobs import orders
from tests.unit.reconciler.disconnected import Rig, disconnected, document, job, key, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time

CLAIMED = 5
SUBMITTED = {**run_status("Submitted"), "templateDigest": template_digest(job().spec)}


def edited(version: int, generation: int, **spec: Any) -> Any:
    return document(
        version=version,
        status=SUBMITTED,
        spec=spec,
        metadata={"generation": generation, "resourceVersion": str(version)},
    )


LABELLED = document(version=6, status=SUBMITTED, metadata={"labels": {"a": "b"}, "resourceVersion": "6"})
EDIT, REVERSAL = edited(6, 2, rerun="2"), edited(7, 3)


async def launched(rig: Rig, *versions: Any, gone: bool = False) -> bool:
    """Launch a claimed run after these versions arrived; whether its fence is dead."""
    cache = rig.context.caches[JOBS]
    cache.listen(rig.runs.on_change)
    cache.put(document(version=CLAIMED - 1))
    claimed = job(version=CLAIMED, status=SUBMITTED)
    assert claimed.status.run is not None
    assert rig.runs.reserve(key())
    attempt = rig.runs.begin(orders.submit(key(), claimed, claimed.status.run))
    for version in versions:
        cache.put(version)
    if gone:
        cache.forget("ns", "job", "uid-job")
    rig.runs.launch(attempt)
    await rig.queue.get()
    while not (pending := rig.runs.pending(key())):
        rig.queue.done(key())
        await rig.queue.get()
    return pending[0].report.dead


@pytest.mark.parametrize(
    ("versions", "gone", "dead"),
    [
        pytest.param([], False, False, id="nothing arrived"),
        pytest.param([LABELLED], False, False, id="a label was edited"),
        pytest.param([EDIT], False, True, id="the template was edited"),
        pytest.param([EDIT, REVERSAL], False, True, id="the template was edited and edited back"),
        pytest.param([], True, True, id="the job was deleted"),
    ],
)
@in_virtual_time
async def test_a_run_is_dead_from_its_launch_if_its_job_moved_on_while_the_claim_was_answered(
    tmp_path: Path, versions: list[Any], gone: bool, dead: bool
) -> None:
    async with disconnected(tmp_path) as rig:
        assert await launched(rig, *versions, gone=gone) is dead


@pytest.mark.parametrize("claimed", [True, False])
@in_virtual_time
async def test_only_of_a_run_that_was_claimed_the_log_says_that_it_has_stopped_being_current(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, claimed: bool
) -> None:
    """A claim that loses to another write of the job is tried again, with the same run id."""
    caplog.set_level("INFO")
    async with disconnected(tmp_path) as rig:
        rig.context.caches[JOBS].listen(rig.runs.on_change)
        found = job(version=CLAIMED, status=SUBMITTED)
        assert found.status.run is not None
        assert rig.runs.reserve(key())
        attempt = rig.runs.begin(orders.submit(key(), found, found.status.run))
        rig.context.caches[JOBS].put(document(version=CLAIMED + 1))
        assert attempt.dead
        if claimed:
            rig.runs.launch(attempt)
        else:
            rig.runs.discard(attempt)
        said = [line for line in caplog.messages if "stopped being current" in line]
        assert len(said) == int(claimed)
