"""When the session of a Running job is observed: spread, at its interval, rarer after failures, at once on request.

And at once when a change of the policies allows the request for which the last observation was denied.
"""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest

from curation.api.approval import EvaluatedRequest, Scope
from curation.api.job import CurationJob
from curation.authz.grant import Grant
from curation.lifecycle.outcome import Denied, Failed, FailureClass, Report, Result, RunKey, StillRunning, Trigger
from curation.reconciler.jobs.attempt import Attempt
from curation.reconciler.jobs.observation import MAX_BACKOFF_SECONDS, OBSERVATIONS_AT_ONCE, Observation
from tests.unit.reconciler.disconnected import DIGEST, NAMESPACE, Rig, disconnected, document, key, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time, now

ASK = "curation.dev/observe-requested-at"
RUN = RunKey("uid-job", "uid-job.g1.a1", 1, 1, "v1:x")
BROKEN = Failed(FailureClass.HTTP_UNAVAILABLE, "connection refused")
OBSERVED = EvaluatedRequest(
    module="m",
    module_digest=DIGEST,
    trigger=Trigger.OBSERVE,
    method="GET",
    scheme="https",
    host="sessions.example",
    port=443,
    path="/sessions/s-1",
)
DENIED = Denied(OBSERVED, "no policy permits it")
PERMIT = "permit(principal, action, resource);"
UNRELATED = 'permit(principal, action, resource) when { context.trigger == "Submit" };'


def running(name: str = "job", *, interval: int = 10, asked: str = "", phase: str = "Running", **meta: Any) -> Any:
    annotations = {ASK: asked} if asked else {}
    found = document(
        name,
        status=run_status(phase),
        spec={"observeIntervalSeconds": interval},
        metadata={"annotations": annotations, **meta},
    )
    return CurationJob.model_validate(found)


class Planned:
    """Observations that are launched are counted, and ended by hand (no module is known here, so each would fail)."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rig = rig
        self.launched: list[tuple[str, float]] = []
        self._flying: dict[str, Attempt] = {}
        monkeypatch.setattr(rig.runs, "launch", self._launch)
        self.observation = Observation(rig.context, rig.memories, rig.runs)

    def _launch(self, attempt: Attempt) -> None:
        order = attempt.order
        assert order.trigger is Trigger.OBSERVE
        self.launched.append((order.key.name, now()))
        self._flying[order.key.name] = attempt

    @property
    def flying(self) -> set[str]:
        return set(self._flying)

    def end(self, name: str, result: Result, **job: Any) -> None:
        self.rig.runs.discard(self._flying.pop(name))
        report = Report(Trigger.OBSERVE, RUN, result)
        self.observation.ended(key(name), running(name, **job), report)

    async def until_launched(self, job: Any) -> float:
        """Work on the job as its queue says until it is observed; returns when that was."""
        known = len(self.launched)
        self.observation.advance(key(), job)
        while len(self.launched) == known:
            self.rig.queue.done(await self.rig.queue.get())
            self.observation.advance(key(), job)
        return self.launched[-1][1]


@in_virtual_time
async def test_a_restart_spreads_the_first_observations_over_the_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        jobs = {key(f"job-{n}"): running(f"job-{n}", interval=100) for n in range(200)}
        for woken, job in jobs.items():
            planned.observation.advance(woken, job)
        while len(planned.launched) < len(jobs):
            woken = await rig.queue.get()
            rig.queue.done(woken)
            planned.observation.advance(woken, jobs[woken])
            planned.end(woken.name, StillRunning()) if woken.name in planned.flying else None
        times = [at for _, at in planned.launched]
        assert max(times) <= 100.1
        for quarter in range(4):
            assert sum(25 * quarter <= at < 25 * (quarter + 1) for at in times) >= 25


@in_virtual_time
async def test_a_session_is_observed_once_in_its_interval_with_jitter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        times = []
        for _ in range(30):
            times.append(await planned.until_launched(running()))
            planned.end("job", StillRunning())
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert min(gaps) >= 9
        assert max(gaps) <= 11.01
        assert max(gaps) - min(gaps) > 0.5


@in_virtual_time
async def test_a_new_interval_counts_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.observation.advance(key(), running(interval=3600))
        planned.observation.advance(key(), running(interval=3600, asked="1"))
        planned.end("job", StillRunning(), interval=3600)
        planned.observation.advance(key(), running(interval=3600, asked="1"))
        began = await planned.until_launched(running(interval=10, asked="1"))
        assert began <= 10.1
        # A longer one does not put off what is due.
        planned.end("job", StillRunning(), interval=10)
        planned.observation.advance(key(), running(interval=10, asked="1"))
        assert await planned.until_launched(running(interval=3600, asked="1")) - began <= 11.1


@in_virtual_time
async def test_failed_observations_become_rarer_to_a_cap_and_a_good_one_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        before = await planned.until_launched(running())
        gaps = []
        for _ in range(8):
            planned.end("job", BROKEN)
            at = await planned.until_launched(running())
            gaps.append(at - before)
            before = at
        for failures, gap in enumerate(gaps):
            base = min(MAX_BACKOFF_SECONDS, 10 * 2**failures)
            assert 0.89 * base <= gap <= 1.1 * base + 0.1
        planned.end("job", StillRunning())
        assert await planned.until_launched(running()) - before <= 11.01


@in_virtual_time
async def test_a_new_value_of_the_annotation_asks_for_an_observation_at_once_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.observation.advance(key(), running(interval=3600))
        planned.observation.advance(key(), running(interval=3600, asked="1"))
        assert planned.launched == [("job", 0)]
        planned.end("job", StillRunning())
        for _ in range(3):
            planned.observation.advance(key(), running(interval=3600, asked="1"))
        assert len(planned.launched) == 1
        planned.observation.advance(key(), running(interval=3600, asked="2"))
        assert len(planned.launched) == 2


@in_virtual_time
async def test_the_value_that_a_restart_finds_asks_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        for _ in range(3):
            planned.observation.advance(key(), running(interval=3600, asked="long ago"))
        assert planned.launched == []


@in_virtual_time
async def test_an_observation_asked_for_before_the_first_is_planned_is_not_taken_for_an_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.observation.launched(key(), running(phase="Queued", asked="long ago"))
        planned.observation.advance(key(), running(interval=3600, asked="now"))
        assert planned.launched == [("job", 0)]


@in_virtual_time
async def test_the_value_from_before_the_run_asks_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.observation.launched(key(), running(phase="Queued", asked="long ago"))
        for _ in range(3):
            planned.observation.advance(key(), running(interval=3600, asked="long ago"))
        assert planned.launched == []


@in_virtual_time
async def test_an_observation_asked_for_during_another_follows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.observation.advance(key(), running(interval=3600))
        planned.observation.advance(key(), running(interval=3600, asked="1"))
        planned.observation.advance(key(), running(interval=3600, asked="2"))
        assert len(planned.launched) == 1, "one at a time"
        planned.end("job", StillRunning())
        planned.observation.advance(key(), running(interval=3600, asked="2"))
        assert len(planned.launched) == 2, "what was asked for during an observation may be newer than what it saw"


@in_virtual_time
async def test_only_so_many_sessions_are_observed_at_once_and_none_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        jobs = {key(f"job-{n}"): running(f"job-{n}", interval=1) for n in range(OBSERVATIONS_AT_ONCE + 20)}
        for woken, job in jobs.items():
            planned.observation.advance(woken, job)
        await asyncio.sleep(30)
        for woken in rig.taken():
            planned.observation.advance(woken, jobs[woken])
        assert len(planned.launched) == OBSERVATIONS_AT_ONCE // 2
        for name in sorted(planned.flying):
            planned.end(name, StillRunning())
        while len({name for name, _ in planned.launched}) < len(jobs):
            woken = await rig.queue.get()
            rig.queue.done(woken)
            planned.observation.advance(woken, jobs[woken])
            for name in sorted(planned.flying):
                planned.end(name, StillRunning())
        assert now() < 40


@in_virtual_time
async def test_jobs_that_wait_for_room_cost_nothing_and_have_it_in_the_order_in_which_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        jobs = {
            key(name): running(name, interval=1)
            for name in (f"job-{n}" for n in range(OBSERVATIONS_AT_ONCE // 2 + 100))
        }
        for woken, job in jobs.items():
            planned.observation.advance(woken, job)
        await asyncio.sleep(2)
        order = rig.taken()
        for woken in order:
            planned.observation.advance(woken, jobs[woken])
        flying = order[: OBSERVATIONS_AT_ONCE // 2]
        await asyncio.sleep(25)
        assert rig.taken() == [], "nothing is done for them while the service hangs"
        for first in flying:
            planned.end(first.name, StillRunning(), interval=3600)
            planned.observation.forget(first)
            for woken in rig.taken():
                planned.observation.advance(woken, jobs[woken])
        assert [name for name, _ in planned.launched] == [woken.name for woken in order[: 2 * len(flying)]]


@pytest.mark.parametrize("gone", [True, False], ids=["is gone", "has completed"])
@in_virtual_time
async def test_room_that_was_offered_to_a_job_which_no_longer_needs_it_goes_to_the_next(
    gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        names = [f"job-{n:03}" for n in range(OBSERVATIONS_AT_ONCE // 2 + 2)]
        for name in names:
            planned.observation.advance(key(name), running(name, interval=3600))
            planned.observation.advance(key(name), running(name, interval=3600, asked="1"))
        *flying, first, second = names
        planned.end(flying[0], StillRunning(), interval=3600)
        assert rig.taken() == [key(first)]
        if gone:
            planned.observation.forget(key(first))
        else:
            planned.observation.advance(key(first), running(first, phase="Completed"))
        assert rig.taken() == [key(second)]


@in_virtual_time
async def test_a_namespace_whose_sessions_never_answer_keeps_no_other_from_being_observed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        stuck = {key(f"job-{n}"): running(f"job-{n}", interval=1) for n in range(5000)}
        for woken, job in stuck.items():
            planned.observation.advance(woken, job)
        await asyncio.sleep(30)
        for woken in rig.taken():
            planned.observation.advance(woken, stuck[woken])
        stuck_now = len(planned.launched)
        others = {
            key(f"job-{place}")._replace(namespace=place): running(f"job-{place}", interval=1, namespace=place)
            for place in ("b", "c", "d")
        }
        for woken, job in others.items():
            planned.observation.advance(woken, job)
        await asyncio.sleep(2)
        for woken in rig.taken():
            planned.observation.advance(woken, others.get(woken) or stuck[woken])
        assert sorted(name for name, _ in planned.launched[stuck_now:]) == ["job-b", "job-c", "job-d"], "in any order"


@pytest.mark.parametrize("phase", ["Queued", "Submitted", "Completed", "Failed"])
@in_virtual_time
async def test_only_running_jobs_are_observed(phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.observation.advance(key(), running(interval=3600))
        planned.observation.advance(key(), running(asked="now", phase=phase))
        assert planned.launched == []


@in_virtual_time
async def test_a_job_that_is_being_deleted_is_not_observed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.observation.advance(key(), running(interval=3600))
        planned.observation.advance(key(), running(asked="1", deletionTimestamp="2026-01-01T00:01:00Z"))
        assert planned.launched == []


async def denied_once(rig: Rig, planned: Planned) -> None:
    """A Running job whose observation was denied just now; the next is an hour away."""
    planned.observation.advance(key(), running(interval=3600))
    planned.observation.advance(key(), running(interval=3600, asked="1"))
    planned.end("job", DENIED)
    planned.observation.advance(key(), running(interval=3600, asked="1"))
    rig.taken()
    assert len(planned.launched) == 1


async def look_when_woken(rig: Rig, planned: Planned) -> int:
    """Work on the job if it is to be worked on now; how many observations there were."""
    for woken in rig.taken():
        planned.observation.advance(woken, running(interval=3600, asked="1"))
    return len(planned.launched)


@pytest.mark.parametrize("how", ["policy", "cluster policy", "approval"])
@in_virtual_time
async def test_what_was_denied_is_observed_again_as_soon_as_it_is_allowed(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned, book = Planned(rig, monkeypatch), rig.context.book
        await denied_once(rig, planned)
        match how:
            case "approval":
                book.put_grant(Grant(NAMESPACE, "m-1", OBSERVED, Scope.REQUEST, None))
            case "cluster policy":
                book.put_policy(None, "theirs", PERMIT)
            case _:
                book.put_policy(NAMESPACE, "ours", PERMIT)
        assert await look_when_woken(rig, planned) == 2
        assert now() == 0


@in_virtual_time
async def test_a_change_during_a_denied_observation_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.observation.advance(key(), running(interval=3600))
        planned.observation.advance(key(), running(interval=3600, asked="1"))
        rig.context.book.put_policy(NAMESPACE, "ours", PERMIT)
        planned.end("job", DENIED)
        planned.observation.advance(key(), running(interval=3600, asked="1"))
        assert len(planned.launched) == 2


@in_virtual_time
async def test_a_change_that_does_not_allow_what_was_denied_asks_for_no_observation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        await denied_once(rig, planned)
        rig.context.book.put_policy(NAMESPACE, "ours", UNRELATED)
        rig.context.book.put_policy("elsewhere", "ours", PERMIT)
        assert await look_when_woken(rig, planned) == 1


@in_virtual_time
async def test_an_observation_that_is_denied_although_allowed_keeps_its_backoff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        await denied_once(rig, planned)
        rig.context.book.put_policy(NAMESPACE, "ours", PERMIT)
        assert await look_when_woken(rig, planned) == 2
        planned.end("job", DENIED)
        for _ in range(3):
            planned.observation.advance(key(), running(interval=3600, asked="1"))
        assert len(planned.launched) == 2
