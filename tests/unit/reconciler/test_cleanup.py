"""How long a run is cancelled, and how long a deletion waits for it: 10 minutes, whatever hangs, whoever restarts."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from curation.api.job import CurationJob
from curation.api.names import EventReason, Trigger
from curation.cluster.answers import APIError, Created, Document, Unreachable, Written
from curation.cluster.resources import JOBS
from curation.lifecycle.event import Event
from curation.lifecycle.outcome import Calls, Cancelled, Failed, FailureClass, Report, SessionRef
from curation.reconciler.jobs import cleanup as cleanup_module
from curation.reconciler.jobs import orders
from curation.reconciler.jobs.cleanup import CANCELS_AT_ONCE, Cleanup
from curation.reconciler.jobs.memory import JobMemory
from curation.reconciler.jobs.orders import Order
from curation.reconciler.jobs.runs import CANCEL_WALL_SECONDS
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import carry_out
from tests.unit.reconciler.disconnected import DIGEST, NAMESPACE, Rig, disconnected, job, key, put_module, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time, now

RUN = "uid-job.g1.a1"
BOUND = 600.0
START, AN_HOUR_AGO = "2026-01-01T00:00:00Z", "2025-12-31T23:00:00Z"

WriteAnswer = Callable[[Order], Coroutine[Any, Any, Report]]


async def succeeds(order: Order) -> Report:
    return Report(order.trigger, order.run, Cancelled())


async def fails(order: Order) -> Report:
    return Report(order.trigger, order.run, Failed(FailureClass.HTTP_UNAVAILABLE, "connection refused"))


async def hangs(_: Order) -> Report:
    await asyncio.sleep(1e6)
    raise AssertionError("it was to be given up long ago")


def deleted(at: str = START) -> CurationJob:
    """A job that was deleted while its run was in flight."""
    return job(status=run_status("Submitted"), metadata={"deletionTimestamp": at})


def abandoned(since: str, runs: int = 1) -> CurationJob:
    """A job that stays, with runs to be cleaned."""
    module = {"name": "m", "digest": DIGEST}
    entries = [{"id": f"uid-job.g1.a{number + 1}", "module": module, "since": since} for number in range(runs)]
    return job(status={**run_status("Completed"), "abandonedRuns": entries})


class Cleaning:
    """The cleaning of one job, whose Cancels end as the test says."""

    def __init__(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch, answer: WriteAnswer | None = None, *, lives: bool = False
    ) -> None:
        """Without an `answer` they are carried out."""
        self.tries: list[float] = []
        self._rig = rig
        self._answer = answer or rig.runs.cancel
        monkeypatch.setattr(rig.runs, "cancel", self._cancel)
        monkeypatch.setattr(JobMemory, "lives", lambda _memory, _run: lives)
        self.cleanup = Cleanup(rig.context, rig.memories, rig.runs, rig.modules)

    async def _cancel(self, order: Order, on_begin: Callable[[], None]) -> Report:
        self.tries.append(now())
        on_begin()
        return await self._answer(order)

    def advance(self, of: Key, found: CurationJob) -> None:
        carry_out(self._rig.context, of, self.cleanup.advance(of, found))

    async def over(self, found: CurationJob) -> float:
        """Work on the job until its run is cleaned or given up; returns when that was."""
        self.advance(key(), found)
        while RUN not in self.cleanup.cleaned(key()):
            self._rig.queue.done(await self._rig.queue.get())
            assert now() < 2 * BOUND, "it waits for ever"
            self.advance(key(), found)
        at = now()
        await self.cleanup.close()
        return at

    @property
    def given_up(self) -> bool:
        return self._rig.context.metrics.registry.get_sample_value("curation_cleanups_failed_total") == 1


async def put_module_with_a_secret(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, answer: APIError | Unreachable | None
) -> None:
    """The run's module needs a Secret, whose read is answered so; None: there is none."""
    reference = {"name": "token", "key": "value"}
    origin = {"scheme": "https", "host": "api.example", "port": 443, "header": "Authorization"}
    await put_module(rig, credentials=[{**origin, "secretKeyRef": reference}])

    async def read(_namespace: str, _name: str) -> None:
        if answer is not None:
            raise answer

    monkeypatch.setattr(rig.context.api, "read_secret", read)


def terminate_namespace(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    async def terminating(_namespace: str) -> bool:
        return True

    monkeypatch.setattr(rig.context.api, "namespace_terminating", terminating)


@in_virtual_time
async def test_a_deletion_does_not_wait_for_a_long_wall_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        # So long a request of a dead process may still be carried out.
        await put_module(rig, limits={"wallSeconds": 3600})
        cleaning = Cleaning(rig, monkeypatch, succeeds)
        assert await cleaning.over(deleted()) == pytest.approx(BOUND, abs=1)
        assert not cleaning.given_up


@pytest.mark.parametrize(
    ("answer", "lives"),
    [
        pytest.param(fails, False, id="each Cancel fails"),
        pytest.param(hangs, False, id="the Cancel hangs"),
        pytest.param(fails, True, id="the run itself hangs"),
    ],
)
@in_virtual_time
async def test_a_deletion_waits_for_ten_minutes_whatever_hangs(
    answer: WriteAnswer, lives: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        cleaning = Cleaning(rig, monkeypatch, answer, lives=lives)
        assert await cleaning.over(deleted()) == pytest.approx(BOUND, abs=1)
        assert cleaning.given_up


@pytest.mark.parametrize(
    ("answer", "seconds", "given_up"),
    [
        pytest.param(succeeds, 0, False, id="it succeeds"),
        pytest.param(fails, 0, True, id="it fails"),
        pytest.param(hangs, 30, True, id="it hangs"),
    ],
)
@in_virtual_time
async def test_a_process_that_finds_an_older_deletion_tries_once(
    answer: WriteAnswer, seconds: float, given_up: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        cleaning = Cleaning(rig, monkeypatch, answer)
        assert await cleaning.over(deleted(AN_HOUR_AGO)) == pytest.approx(seconds, abs=1)
        assert (len(cleaning.tries), cleaning.given_up) == (1, given_up)


@in_virtual_time
async def test_a_run_that_was_abandoned_long_ago_is_tried_for_ten_minutes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its operator died, and the next one came an hour later: one failure is not the end of its session."""
    async with disconnected(tmp_path) as rig:
        cleaning = Cleaning(rig, monkeypatch, fails)
        assert await cleaning.over(abandoned(AN_HOUR_AGO)) == pytest.approx(BOUND, abs=31)
        assert len(cleaning.tries) > 10
        assert cleaning.given_up


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(None, id="the Secret is not there"),
        pytest.param(APIError(403, "Forbidden", "no"), id="the Secret may not be read"),
    ],
)
@in_virtual_time
async def test_a_terminating_namespace_is_not_held_for_what_it_has_lost(
    answer: APIError | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        terminate_namespace(rig, monkeypatch)
        await put_module_with_a_secret(rig, monkeypatch, answer)
        cleaning = Cleaning(rig, monkeypatch)
        assert await cleaning.over(deleted()) == 0
        assert cleaning.given_up


@in_virtual_time
async def test_a_terminating_namespace_is_not_held_for_a_module_that_it_has_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        terminate_namespace(rig, monkeypatch)
        cleaning = Cleaning(rig, monkeypatch)
        assert await cleaning.over(deleted()) == 0
        assert cleaning.given_up


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Unreachable("reset"), id="nobody answers"),
        pytest.param(APIError(500, "InternalError", "etcd"), id="the API server fails"),
        pytest.param(APIError(429, "TooManyRequests", "later"), id="the API server throttles"),
    ],
)
@in_virtual_time
async def test_a_read_that_fails_is_tried_again_though_the_namespace_terminates(
    answer: APIError | Unreachable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        terminate_namespace(rig, monkeypatch)
        await put_module_with_a_secret(rig, monkeypatch, answer)
        cleaning = Cleaning(rig, monkeypatch)
        assert await cleaning.over(deleted()) == pytest.approx(BOUND, abs=1)
        assert len(cleaning.tries) > 10


@in_virtual_time
async def test_an_event_says_why_a_deletion_waits_at_the_second_failure_and_then_ever_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        recorded: list[tuple[float, Event]] = []
        monkeypatch.setattr(rig.context, "record_event", lambda _about, event, _fields: recorded.append((now(), event)))
        cleaning = Cleaning(rig, monkeypatch, fails)
        at = await cleaning.over(deleted())
        *waiting, (last, given_up) = recorded
        assert 4 <= len(waiting) <= 5
        recorded_at = [cleaning.tries[number - 1] for number in (2, 4, 8, 16, 32) if number <= len(cleaning.tries)]
        assert [when for when, _ in waiting] == recorded_at[: len(waiting)]
        why = f"Run {RUN} could not be cleaned yet and is tried again: HTTPUnavailable: connection refused"
        assert {event for _, event in waiting} == {Event(EventReason.RETRY_SCHEDULED, why, warning=True)}, "one series"
        assert (last, given_up.reason) == (at, EventReason.CLEANUP_FAILED)


@in_virtual_time
async def test_what_a_run_of_a_deleted_job_had_created_is_given_up_with_an_event_that_names_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        recorded: list[tuple[Document, Event]] = []
        monkeypatch.setattr(rig.context, "record_event", lambda about, event, _fields: recorded.append((about, event)))
        cleaning = Cleaning(rig, monkeypatch, fails)
        found = job(status=run_status("Submitted"))
        assert found.status.run is not None
        cleaning.cleanup.orphan(key(), None, orders.submit(key(), found, found.status.run), None)
        await asyncio.sleep(BOUND - 1)
        assert not recorded
        await asyncio.sleep(60)
        ((about, event),) = recorded
        assert cleaning.given_up
        metadata = {"name": "job", "namespace": NAMESPACE, "uid": "uid-job"}
        assert about == {"apiVersion": "curation.dev/v1alpha1", "kind": "CurationJob", "metadata": metadata}
        assert (event.reason, event.warning) == (EventReason.CLEANUP_FAILED, True)
        assert RUN in event.message
        assert "connection refused" in event.message


@in_virtual_time
async def test_each_session_that_is_given_up_has_an_event_however_many_retries_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        made: list[str] = []

        async def create(_kind: object, _namespace: str, body: Document) -> Created:
            if body["reason"] == EventReason.CLEANUP_FAILED:
                made.append(body["note"])
            return Created({"metadata": {"resourceVersion": "1"}})

        async def patch(*_: object, **__: object) -> Written:
            return Written({"metadata": {"resourceVersion": "2"}})

        monkeypatch.setattr(rig.context.api, "create", create)
        monkeypatch.setattr(rig.context.writer, "patch", patch)
        rig.context.events.start()
        cleaning = Cleaning(rig, monkeypatch, fails)
        found = abandoned(START, runs=20)
        cleaning.advance(key(), found)
        while len(cleaning.cleanup.cleaned(key())) < 20:
            rig.queue.done(await rig.queue.get())
            cleaning.advance(key(), found)
        await rig.context.events.close(timeout=10)
        assert sorted(event.split()[1] for event in made) == sorted(f"uid-job.g1.a{n + 1}" for n in range(20))


@pytest.mark.parametrize("answer", [fails, succeeds])
@in_virtual_time
async def test_each_line_about_a_cleaned_run_has_its_fields(
    answer: WriteAnswer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "curation")
    async with disconnected(tmp_path) as rig:
        cleaning = Cleaning(rig, monkeypatch, answer)
        if answer is fails:
            await cleaning.over(deleted())
        found = job(status=run_status("Submitted"))
        assert found.status.run is not None
        cleaning.cleanup.orphan(key(), None, orders.submit(key(), found, found.status.run), None)
        await asyncio.sleep(2 * BOUND)
    assert caplog.records
    for record in caplog.records:
        fields = {name: getattr(record, name, None) for name in ("job", "run_id", "generation", "attempt", "trigger")}
        wanted = {"job": f"{NAMESPACE}/job", "run_id": RUN, "generation": 1, "attempt": 1, "trigger": "Cancel"}
        assert fields == wanted, record.getMessage()


@pytest.mark.parametrize(
    ("phase", "tries"),
    [
        pytest.param("Running", 1, id="it reported a session"),
        pytest.param("Submitted", 0, id="it came to nothing"),
    ],
)
@in_virtual_time
async def test_a_run_that_made_no_call_is_cancelled_if_it_reported_a_session(
    phase: str, tries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module may know the session without a call, from its config: the job owns it as any other."""
    async with disconnected(tmp_path) as rig:
        rig.memories.of(key(), "uid-job").calls[RUN] = Calls()
        cleaning = Cleaning(rig, monkeypatch, succeeds)
        assert await cleaning.over(job(status=run_status(phase), metadata={"deletionTimestamp": START})) == 0
        assert len(cleaning.tries) == tries


@in_virtual_time
async def test_a_run_that_made_no_call_is_cancelled_if_its_dropped_completion_reported_a_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        rig.memories.of(key(), "uid-job").calls[RUN] = Calls()
        cleaning = Cleaning(rig, monkeypatch, succeeds)
        found = deleted()
        assert found.status.run is not None
        order = orders.submit(key(), found, found.status.run)
        cleaning.cleanup.orphan(key(), found, order, SessionRef("s-1", ""))
        await cleaning.over(found)
        assert len(cleaning.tries) == 1


@in_virtual_time
async def test_hanging_cancels_of_some_namespaces_leave_room_for_those_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        cleaning = Cleaning(rig, monkeypatch, hangs)
        for number in range(5000):
            cleaning.advance(Key(JOBS, "noisy", f"job-{number}"), abandoned(START))
        await asyncio.sleep(1)
        assert len(cleaning.tries) == CANCELS_AT_ONCE // 2
        cleaning.advance(key(), abandoned(START))
        await asyncio.sleep(1)
        assert len(cleaning.tries) == CANCELS_AT_ONCE // 2 + 1
        await cleaning.cleanup.close()


@in_virtual_time
async def test_no_run_is_given_up_before_it_was_tried_however_long_it_waits_for_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind Cancels of its own namespace that hang for as long as they may: of a job that stays, of a deleted one."""
    monkeypatch.setattr(cleanup_module, "CANCELS_AT_ONCE", 2)

    async def takes_its_time(order: Order) -> Report:
        await asyncio.sleep(CANCEL_WALL_SECONDS)
        return await fails(order)

    async with disconnected(tmp_path) as rig:
        cleaning = Cleaning(rig, monkeypatch, takes_its_time)
        for number in range(12):  # 24 minutes of them
            cleaning.advance(key(f"job-{number}"), abandoned(START))
        tried: dict[str, float] = {}
        answer = cleaning._answer

        async def noted(order: Order) -> Report:
            tried.setdefault(order.key.name, now())
            return await answer(order)

        cleaning._answer = noted
        for name, found in (("stays", abandoned(START)), ("deleted", deleted())):
            cleaning.advance(key(name), found)
        work = asyncio.create_task(_work(rig, cleaning.cleanup, {"stays": abandoned(START), "deleted": deleted()}))
        while not {"stays", "deleted"} <= tried.keys():
            assert not cleaning.cleanup.cleaned(key("stays")) | cleaning.cleanup.cleaned(key("deleted"))
            await asyncio.sleep(30)
        assert min(tried["stays"], tried["deleted"]) > BOUND
        await asyncio.sleep(BOUND / 2)
        assert not cleaning.cleanup.cleaned(key("deleted")), "its ten minutes count from its first try"
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await cleaning.cleanup.close()


async def _work(rig: Rig, cleanup: Cleanup, jobs: dict[str, CurationJob]) -> None:
    while True:
        woken = await rig.queue.get()
        rig.queue.done(woken)
        if woken.name in jobs:
            carry_out(rig.context, woken, cleanup.advance(woken, jobs[woken.name]))


@in_virtual_time
async def test_a_cancel_runs_for_two_minutes_at_most_whatever_its_module_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        await put_module(rig, limits={"wallSeconds": 3600})
        found = job(status=run_status("Submitted"))
        assert found.status.run is not None
        submit = orders.submit(key(), found, found.status.run)
        walls = {}
        for order in (submit, orders.cancel_orphan(submit, None)):
            request = rig.runs._request(rig.runs.begin(order))
            walls[order.trigger] = request.module.limits.wall_seconds
        assert walls == {Trigger.SUBMIT: 3600, Trigger.CANCEL: CANCEL_WALL_SECONDS}
