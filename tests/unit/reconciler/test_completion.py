"""What follows from a completion whose write was carried out though its answer was lost."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from curation.api.digest import template_digest
from curation.cluster.answers import Conflict, Unknown, WriteAnswer, Written
from curation.cluster.mergepatch import merge_patch
from curation.cluster.resources import JOBS
from curation.lifecycle.complete import Ruling
from curation.lifecycle.outcome import Calls, Denied, Report, SessionRef, SessionSpawned, Trigger
from curation.reconciler.approvals.asking import Approvals
from curation.reconciler.approvals.grants import Grants
from curation.reconciler.jobs import orders
from curation.reconciler.jobs.completion import Completion, Pending, Settled
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import Result
from tests.unit.lifecycle.builders import request
from tests.unit.reconciler.disconnected import NAMESPACE, carried, disconnected, document, job, key, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time


@in_virtual_time
async def test_the_approval_of_a_denied_observation_is_asked_for_though_the_answer_to_the_write_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        context = rig.context
        found = job(status=run_status("Running"))
        assert found.status.run is not None
        context.caches[JOBS].put(document(status=run_status("Running")))
        order = orders.observe(key(), found, found.status.run)
        written: list[Any] = []

        async def write_status(_key: Key, _version: int, _old: object, new: Any) -> Unknown:
            written.append(new)
            return Unknown("reset")

        async def refresh(_: Key) -> bool:
            return context.caches[JOBS].put(document(version=6, status=written[-1])) or True

        monkeypatch.setattr(context, "write_status", write_status)
        monkeypatch.setattr(context, "refresh", refresh)
        report = Report(Trigger.OBSERVE, order.run, Denied(request(), "no policy permits it"), calls=Calls())
        settled = await Completion(context).settle(key(), Pending(report, order), "")
        assert isinstance(settled, Settled)
        assert settled.verdict.ask == request()
        assert len(written) == 1
        stored = context.caches[JOBS].get(NAMESPACE, "job")
        assert stored is not None
        assert merge_patch(stored.document()["status"], written[0]) is None


def second_attempt() -> dict[str, Any]:
    """The status of a job whose first run has failed, and whose second was claimed."""
    status = run_status("Submitted")
    status["run"] |= {"id": "uid-job.g1.a2", "attempt": 2}
    entry = {"id": "uid-job.g1.a1", "outcome": "Failed", "reason": "Trap", "finishedAt": "2026-01-01T00:00:05.000000Z"}
    return {**status, "history": [entry]}


@pytest.mark.parametrize("landed", [True, False])
@pytest.mark.parametrize("first", [Conflict(), Unknown("reset")])
@in_virtual_time
async def test_an_outcome_is_written_once_whatever_was_answered_to_its_first_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: WriteAnswer, landed: bool
) -> None:
    """A proxy that repeats a write of its own accord makes a conflict of one that has landed."""
    async with disconnected(tmp_path) as rig:
        context = rig.context
        before = second_attempt()
        context.caches[JOBS].put(document(status=before))
        found = job(status=before)
        assert found.status.run is not None
        order = orders.submit(key(), found, found.status.run)
        written: list[Any] = []

        async def write_status(_key: Key, version: int, _old: object, new: Any) -> WriteAnswer:
            written.append(new)
            return first if len(written) == 1 else Written(document(version=version + 1, status=new))

        async def refresh(_: Key) -> bool:
            # Somebody has labelled it; the write has landed before that, or has not.
            return context.caches[JOBS].put(document(version=6, status=written[-1] if landed else before)) or True

        async def write(*args: Any) -> WriteAnswer:
            answer = await write_status(*args)
            if isinstance(answer, Conflict):
                await refresh(key())
            return answer

        monkeypatch.setattr(context, "write_status", write)
        monkeypatch.setattr(context, "refresh", refresh)
        report = Report(Trigger.SUBMIT, order.run, SessionSpawned(SessionRef("s-2")), calls=Calls(1, 1, 1))
        settled = await Completion(context).settle(key(), Pending(report, order), "")
        assert isinstance(settled, Settled)
        assert settled.verdict.ruling is Ruling.APPLIED
        assert [event.reason.value for event in settled.verdict.events] == ["SessionSpawned"]
        assert len(written) == (1 if landed else 2)
        assert written[-1]["session"]["id"] == "s-2"


@pytest.mark.parametrize("cut_short", [False, True])
@in_virtual_time
async def test_what_an_outcome_has_to_say_is_said_once_it_is_written_though_the_step_after_it_is_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut_short: bool
) -> None:
    async with disconnected(tmp_path) as rig:
        context = rig.context
        submitted = {**run_status("Submitted"), "templateDigest": template_digest(job().spec)}
        context.caches[JOBS].put(document(status=submitted))
        found = job(status=submitted)
        assert found.status.run is not None
        order = orders.submit(key(), found, found.status.run)
        said: list[str] = []

        async def write_status(_key: Key, version: int, _old: object, new: Any) -> WriteAnswer:
            return Written(document(version=version + 1, status=new))

        async def step(_: Key) -> Result:
            raise asyncio.CancelledError

        monkeypatch.setattr(context, "write_status", write_status)
        monkeypatch.setattr(context, "record_event", lambda _about, event, _fields: said.append(event.reason.value))
        jobs = rig.jobs(Approvals(context, Grants(context, JobIndex(context.metrics))))
        if cut_short:
            monkeypatch.setattr(jobs, "_step", step)
        report = Report(Trigger.SUBMIT, order.run, SessionSpawned(SessionRef("s-1")), calls=Calls(1, 1, 1))
        rig.memories.of(key(), "uid-job").inbox.append(Pending(report, order))
        with suppress(asyncio.CancelledError):
            await carried(context, jobs.reconcile)(key())
        assert said == ["SessionSpawned"]
        moved = {"from": "Submitted", "to": "Running", "reason": "SessionSpawned"}
        assert context.metrics.transitions.labels(**moved)._value.get() == 1
