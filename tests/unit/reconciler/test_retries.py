"""What could not be written is tried again ever less often, and meanwhile nothing is done twice for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from curation.api.approval import approval_name, request_digest
from curation.api.digest import template_digest
from curation.cluster.answers import APIError, Refused, Unknown, WriteAnswer, Written
from curation.cluster.resources import JOBS
from curation.lifecycle.outcome import Cancelled, Report
from curation.reconciler.approvals.asking import Approvals
from curation.reconciler.approvals.grants import Grants
from curation.reconciler.jobs import orders
from curation.reconciler.jobs.observation import OBSERVATIONS_AT_ONCE
from curation.reconciler.jobs.orders import Order
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.key import Key
from tests.unit.lifecycle.builders import request
from tests.unit.reconciler.disconnected import DIGEST, Rig, carried, disconnected, document, job, key, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time, now

RUN = "uid-job.g1.a1"
HALF_A_MINUTE = 30.0
# Backoff from 0.05 s that doubles, each delay at least half of that, and a first try.
TRIES = 13


def status(phase: str, **more: Any) -> dict[str, Any]:
    """A status to which nothing is to be added."""
    return {**run_status(phase), "templateDigest": template_digest(job().spec), **more}


@asynccontextmanager
async def working(rig: Rig, *documents: Any) -> AsyncIterator[None]:
    """Reconcile these jobs, with no API server to be reached."""
    context = rig.context
    index = JobIndex(context.metrics)
    context.caches[JOBS].listen(index.on_change)
    context.caches[JOBS].listen(rig.runs.on_change)
    approvals = Approvals(context, Grants(context, index))
    jobs = rig.jobs(approvals)
    for found in documents:
        context.caches[JOBS].put(found)
        context.queue.add(key(found["metadata"]["name"]))

    def failed(failing: Key, error: Exception) -> None:
        if not isinstance(error, APIError):
            raise error
        context.queue.add_rate_limited(failing)

    worker = asyncio.create_task(context.queue.work(carried(context, jobs.reconcile), failed))
    try:
        yield
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        await jobs.cleanup.close()


@in_virtual_time
async def test_an_outcome_that_cannot_be_written_is_tried_again_ever_less_often(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with disconnected(tmp_path) as rig:
        found = document(status=status("Submitted"))
        submitted = job(status=found["status"])
        assert submitted.status.run is not None
        assert rig.runs.reserve(key())
        async with working(rig, found):
            rig.runs.launch(rig.runs.begin(orders.submit(key(), submitted, submitted.status.run)))
            await asyncio.sleep(HALF_A_MINUTE)
        tries = [record for record in caplog.records if "the answer to a write of the outcome of run" in record.message]
        assert 5 < len(tries) <= TRIES
        assert len(rig.runs.pending(key())) == 1, "it is kept"


@in_virtual_time
async def test_an_approval_that_cannot_be_made_is_tried_again_ever_less_often(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with disconnected(tmp_path) as rig:
        waits = {
            "name": approval_name(request()),
            "requestDigest": request_digest(request()),
            "request": request().to_wire(),
            "since": "2026-01-01T00:00:10Z",
        }
        async with working(rig, document(status=status("AwaitingApproval", reason="Denied", approval=waits))):
            await asyncio.sleep(HALF_A_MINUTE)
        tries = [
            record for record in caplog.records if "the answer to a write of the approval was lost" in record.message
        ]
        assert 5 < len(tries) <= TRIES


@in_virtual_time
async def test_a_session_is_not_observed_again_while_what_was_seen_cannot_be_written(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        async with working(rig, document(status=status("Running"))):
            await asyncio.sleep(HALF_A_MINUTE)
        assert len(rig.runs.pending(key())) == 1


@in_virtual_time
async def test_observations_whose_news_cannot_be_written_keep_no_other_session_from_being_observed(
    tmp_path: Path,
) -> None:
    async with disconnected(tmp_path) as rig:
        names = [f"job-{number}" for number in range(OBSERVATIONS_AT_ONCE + 10)]
        found = [document(name, status=status("Running")) for name in names]
        async with working(rig, *found):
            await asyncio.sleep(15)  # longer than their interval
        assert all(rig.runs.pending(key(name)) for name in names)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"metadata": {"generation": 2}}, id="its status is refused"),
        pytest.param({"spec": {"ttlSecondsAfterFinished": 0}}, id="its deletion is refused"),
    ],
)
@in_virtual_time
async def test_what_a_job_has_abandoned_is_cleaned_though_its_writes_are_refused(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        cancelled: list[str] = []

        async def cancel(order: Order, _begun: Callable[[], None]) -> Report:
            cancelled.append(order.run.id)
            return Report(order.trigger, order.run, Cancelled())

        async def write_status(*_: object) -> Refused:
            return Refused(403, "Forbidden", "quota")

        async def delete(*_: object, **__: object) -> None:
            raise APIError(403, "Forbidden", "quota")

        monkeypatch.setattr(rig.runs, "cancel", cancel)
        monkeypatch.setattr(rig.context, "write_status", write_status)
        monkeypatch.setattr(rig.context.api, "delete", delete)
        since = "2025-12-31T23:00:00Z"
        abandoned = {"id": RUN, "module": {"name": "m", "digest": DIGEST}, "since": since}
        completed = status("Completed", phaseSince=since, abandonedRuns=[abandoned])
        async with working(rig, document(status=completed, **changes)):
            await asyncio.sleep(HALF_A_MINUTE)
        assert cancelled == [RUN]


@in_virtual_time
async def test_a_fault_of_our_own_in_a_cancel_is_tried_again_with_backoff_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with disconnected(tmp_path) as rig:
        tries: list[float] = []

        async def cancel(order: Order, _begun: Callable[[], None]) -> Report:
            tries.append(now())
            if len(tries) < 4:
                raise AttributeError("a fault")
            return Report(order.trigger, order.run, Cancelled())

        async def write_status(*_: object) -> Refused:
            return Refused(403, "Forbidden", "quota")

        monkeypatch.setattr(rig.runs, "cancel", cancel)
        monkeypatch.setattr(rig.context, "write_status", write_status)
        since = "2025-12-31T23:00:00Z"
        abandoned = {"id": RUN, "module": {"name": "m", "digest": DIGEST}, "since": since}
        async with working(rig, document(status=status("Completed", phaseSince=since, abandonedRuns=[abandoned]))):
            await asyncio.sleep(10 * HALF_A_MINUTE)
        assert len(tries) == 4
        assert all(later - earlier > 0.1 for earlier, later in pairwise(tries))
        assert "AttributeError: a fault" in caplog.text


@pytest.mark.parametrize("landed", [True, False])
@in_virtual_time
async def test_a_write_that_moves_no_phase_is_made_once_though_its_answer_is_lost(
    landed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The phase, its reason and its time are the same before and after: they do not tell whether it has landed."""
    async with disconnected(tmp_path) as rig:
        since = "2025-12-31T23:00:00Z"
        abandoned = {"id": RUN, "module": {"name": "m", "digest": DIGEST}, "since": since}
        before = document(status=status("Completed", phaseSince=since, abandonedRuns=[abandoned]))
        written: list[Any] = []

        async def cancel(order: Order, _begun: Callable[[], None]) -> Report:
            return Report(order.trigger, order.run, Cancelled())

        async def write_status(_key: Key, version: int, _old: object, new: Any) -> WriteAnswer:
            written.append(new)
            if landed or len(written) > 1:
                server.append(document(version=version + 1, status=new))
            return Unknown("reset") if len(written) == 1 else Written(server[-1])

        async def refresh(_: Key) -> bool:
            return rig.context.caches[JOBS].put(server[-1]) or True

        server = [before]
        monkeypatch.setattr(rig.runs, "cancel", cancel)
        monkeypatch.setattr(rig.context, "write_status", write_status)
        monkeypatch.setattr(rig.context, "refresh", refresh)
        async with working(rig, before):
            await asyncio.sleep(HALF_A_MINUTE)
        assert len(written) == (1 if landed else 2)
        assert not server[-1]["status"].get("abandonedRuns")
