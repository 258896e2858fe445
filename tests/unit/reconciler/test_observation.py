"""When the session of a Running job is observed: spread, ever more rarely while nothing changes, at once on request.

Rarer after failures too, and at once when a change of the policies allows the request for which the last observation
was denied. None but what tells something new asks for work on its job.
"""

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from curation.api.approval import EvaluatedRequest, Scope
from curation.api.job import CurationJob, status_to_wire
from curation.authz.grant import Grant
from curation.cluster.resources import JOBS
from curation.lifecycle.complete import Moment, complete
from curation.lifecycle.observing import MAX_BACKOFF_SECONDS
from curation.lifecycle.outcome import Completed, Denied, Failed, FailureClass, Report, Result, StillRunning, Trigger
from curation.reconciler.jobs.attempt import Attempt
from curation.reconciler.jobs.observation import JITTER, OBSERVATIONS_AT_ONCE, Observation
from curation.reconciler.runtime.key import Key
from tests.unit.reconciler.disconnected import DIGEST, NAMESPACE, Rig, disconnected, document, key, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time, now

ASK = "curation.dev/observe-requested-at"
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
_VERSIONS = itertools.count(5)


def running(
    name: str = "job", *, interval: int = 10, longest: int = 0, asked: str = "", phase: str = "Running", **meta: Any
) -> Any:
    """A job as the API server shows it, in a version of its own; its interval grows if `longest` is greater."""
    annotations = {ASK: asked} if asked else {}
    return document(
        name,
        version=next(_VERSIONS),
        status=run_status(phase),
        spec={"observe": {"intervalSeconds": interval, "maxIntervalSeconds": longest or interval}},
        metadata={"annotations": annotations, **meta},
    )


def hours_ago(job: Any, **session: Any) -> Any:
    """The same, Running for so long that nothing is expected of it soon."""
    status = job["status"]
    since = "2025-12-31T20:00:00Z"
    return {**job, "status": {**status, "phaseSince": since, "session": {**status["session"], **session}}}


class Planned:
    """Observations that are launched are counted, and ended by hand (no module is known here, so each would fail)."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rig = rig
        self.launched: list[tuple[str, float]] = []
        self._flying: dict[str, Attempt] = {}
        self._news = asyncio.Event()
        monkeypatch.setattr(rig.runs, "launch", self._launch)
        self.observation = Observation(rig.context, rig.memories, rig.runs)

    def _launch(self, attempt: Attempt) -> None:
        order = attempt.order
        assert order.trigger is Trigger.OBSERVE
        assert order.key.name not in self._flying, "one at a time"
        self.launched.append((order.key.name, now()))
        self._flying[order.key.name] = attempt
        self._news.set()

    @property
    def flying(self) -> Sequence[str]:
        return tuple(self._flying)

    def work(self, shown: Any) -> None:
        """The watch shows the job, and its reconciler finds it as it should be."""
        self.rig.context.caches[JOBS].put(shown)
        metadata = shown["metadata"]
        self.observation.advance(Key(JOBS, metadata["namespace"], metadata["name"]), CurationJob.model_validate(shown))

    def end(self, name: str, result: Result) -> bool:
        """The observation ends so. True if that was all: no worker is asked for."""
        attempt = self._flying.pop(name)
        self.rig.runs.discard(attempt)
        order = attempt.order
        report = Report(Trigger.OBSERVE, order.run, result)
        if self.observation.settles(order, report):
            return True
        stored = self.rig.context.caches[JOBS].get(order.key.namespace, name)
        assert stored is not None
        job = stored.parse(CurationJob)
        self.observation.ended(order.key, job, report)
        self.observation.advance(order.key, job)
        return False

    async def until_launched(self, count: int | None = None) -> float:
        """Wait until so many observations were launched, or one more; returns when the last was."""
        wanted = len(self.launched) + 1 if count is None else count
        while len(self.launched) < wanted:
            self._news.clear()
            await self._news.wait()
        return self.launched[-1][1]


@in_virtual_time
async def test_a_restart_spreads_the_first_observations_over_the_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        for number in range(200):
            planned.work(running(f"job-{number}", interval=100))
        for count in range(1, 201):
            await planned.until_launched(count)
            for name in planned.flying:
                planned.observation.forget(key(name))
                planned.work(running(name, phase="Completed"))
                assert not planned.end(name, StillRunning()), "it is no longer observed"
        times = [at for _, at in planned.launched]
        assert max(times) <= 100.1
        for quarter in range(4):
            assert sum(25 * quarter <= at < 25 * (quarter + 1) for at in times) >= 25


@in_virtual_time
async def test_sessions_of_a_namespace_that_are_due_at_about_the_same_time_are_observed_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        names = [f"job-{number}" for number in range(20)]
        for place in ("b", "c"):
            for name in names:
                planned.work(running(f"{place}-{name}", interval=100, namespace=place))
        for _ in range(5 * 2 * len(names)):
            await planned.until_launched()
            for name in planned.flying:
                assert planned.end(name, StillRunning())
        for place in ("b", "c"):
            times = [at for name, at in planned.launched if name.startswith(place) and at > 200]
            wakes = len(set(times))
            assert wakes < len(times) / 1.4, "many share a wake"
            window = max(times) - min(times)
            assert wakes <= window / (100 * JITTER) + 2, "one wake for all that are due within a tenth of the interval"


@in_virtual_time
async def test_a_session_is_observed_once_in_its_interval_with_jitter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.work(running())
        times = []
        for _ in range(30):
            times.append(await planned.until_launched())
            assert planned.end("job", StillRunning())
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert min(gaps) >= 9
        assert max(gaps) <= 11.01
        assert max(gaps) - min(gaps) > 0.5


async def gaps_of(planned: Planned, results: Sequence[Result]) -> list[float]:
    """Let the observations end so, one after the other; the time from each to the next."""
    before = await planned.until_launched() if not planned.flying else planned.launched[-1][1]
    gaps = []
    for result in results:
        planned.end("job", result)
        at = await planned.until_launched()
        gaps.append(at - before)
        before = at
    return gaps


def assert_near(gaps: Sequence[float], wanted: Sequence[float]) -> None:
    assert len(gaps) == len(wanted)
    for gap, interval in zip(gaps, wanted, strict=True):
        # The interval is what has passed since the last change, which has jitter itself.
        assert 0.9 * interval <= gap <= 1.4 * interval, (list(gaps), list(wanted))


@in_virtual_time
async def test_a_session_that_does_not_change_is_observed_ever_more_rarely_up_to_the_longest_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.work(running(interval=10, longest=1000, asked="0"))
        planned.work(running(interval=10, longest=1000, asked="1"))
        first, *gaps = await gaps_of(planned, [StillRunning({"step": 1})] * 10)
        assert 9 <= first <= 11.01
        for shorter, longer in itertools.pairwise(gaps):
            assert longer >= shorter * 0.9
            assert longer <= max(11.01, 2.2 * shorter), "it doubles at most"
        assert sum(gaps) > 2000
        assert 900 <= gaps[-1] <= 1100.1
        assert rig.taken() == [], "no worker was asked for"


@in_virtual_time
async def test_what_changes_is_observed_at_the_shortest_interval_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.work(hours_ago(running(interval=10, longest=60), progress={"step": 1}))
        same, other, none = StillRunning({"step": 1}), StillRunning({"step": 2}), StillRunning()
        gaps = await gaps_of(planned, [same, other, other, none, none, none, same])
        assert_near(gaps, [60, 10, 10, 20, 40, 60, 10])


@in_virtual_time
async def test_who_asks_is_answered_at_once_and_the_interval_is_the_shortest_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.work(hours_ago(running(interval=10, longest=60)))
        await gaps_of(planned, [StillRunning()] * 2)
        planned.end("job", StillRunning())
        began = now()
        planned.work(hours_ago(running(interval=10, longest=60, asked="1")))
        assert planned.launched[-1][1] == began
        assert_near(await gaps_of(planned, [StillRunning()] * 2), [10, 10])


@in_virtual_time
async def test_a_restart_goes_on_with_the_interval_that_the_status_tells_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        for number in range(50):
            planned.work(hours_ago(running(f"job-{number}", interval=10, longest=60)))
        await asyncio.sleep(30)
        assert len(planned.launched) <= OBSERVATIONS_AT_ONCE // 2
        assert sum(at <= 10 for _, at in planned.launched) < 25, "spread over the long interval"
        for name in planned.flying:
            planned.end(name, StillRunning())
        await asyncio.sleep(50 / 1.2)
        assert len({name for name, _ in planned.launched}) == 50


@in_virtual_time
async def test_progress_that_a_restart_finds_in_the_status_is_no_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.work(hours_ago(running(interval=10, longest=60), progress={"a": 1, "b": 2}))
        gaps = await gaps_of(planned, [StillRunning({"b": 2, "a": 1})])
        assert_near(gaps, [60])


@in_virtual_time
async def test_what_tells_something_new_is_left_to_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.work(running())
        for result, settled in (
            (StillRunning(), True),
            (StillRunning({"step": 1}), False),  # it is written
            (BROKEN, False),  # so that the conditions say it
            (DENIED, False),  # an approval is to be asked for
            (Completed({}), False),
        ):
            await planned.until_launched()
            assert planned.end("job", result) is settled, result


@in_virtual_time
async def test_a_failure_that_the_conditions_show_already_needs_no_worker_and_its_end_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        job = running(interval=10, longest=60)
        broken = CurationJob.model_validate(job)
        planned.work(job)
        await planned.until_launched()
        (attempt,) = rig.memories.of(key(), "uid-job").attempts
        report = Report(Trigger.OBSERVE, attempt.order.run, BROKEN)
        status = complete(broken, report, Moment(rig.context.clock.now())).status
        assert status is not None
        shown = running(interval=10, longest=60)
        planned.work({**shown, "status": {**shown["status"], **status_to_wire(status)}})
        assert planned.end("job", BROKEN)
        await planned.until_launched()
        assert not planned.end("job", StillRunning())


@in_virtual_time
async def test_a_process_that_stops_starts_no_observation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.work(running("one"))
        planned.work(running("two", interval=3600))
        await planned.until_launched()
        (flying,) = planned.flying
        assert flying == "one"
        planned.observation.close()
        assert not planned.end(flying, StillRunning())
        await asyncio.sleep(100)
        assert len(planned.launched) == 1


@in_virtual_time
async def test_a_new_interval_counts_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.work(running(interval=3600))
        planned.work(running(interval=3600, asked="1"))
        planned.end("job", StillRunning())
        planned.work(running(interval=10, asked="1"))
        began = await planned.until_launched()
        assert began <= 10.1
        # A longer one does not put off what is due.
        planned.end("job", StillRunning())
        planned.work(running(interval=3600, asked="1"))
        assert await planned.until_launched() - began <= 11.1


@in_virtual_time
async def test_failed_observations_become_rarer_to_a_cap_and_a_good_one_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.work(running())
        gaps = await gaps_of(planned, [BROKEN] * 8)
        for failures, gap in enumerate(gaps):
            base = min(MAX_BACKOFF_SECONDS, 10 * 2**failures)
            assert 0.89 * base <= gap <= 1.1 * base + 0.1
        assert_near(await gaps_of(planned, [StillRunning()]), [10])


@in_virtual_time
async def test_a_failure_brings_no_observation_forward_and_the_first_good_one_is_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.work(hours_ago(running(interval=10, longest=60)))
        gaps = await gaps_of(planned, [*[BROKEN] * 5, StillRunning(), StillRunning()])
        assert_near(gaps, [60, 60, 60, 80, 160, 10, 10])


@in_virtual_time
async def test_a_new_value_of_the_annotation_asks_for_an_observation_at_once_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.work(running(interval=3600))
        planned.work(running(interval=3600, asked="1"))
        assert planned.launched == [("job", 0)]
        planned.end("job", StillRunning())
        for _ in range(3):
            planned.work(running(interval=3600, asked="1"))
        assert len(planned.launched) == 1
        planned.work(running(interval=3600, asked="2"))
        assert len(planned.launched) == 2


@in_virtual_time
async def test_the_value_that_a_restart_finds_asks_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        for _ in range(3):
            planned.work(running(interval=3600, asked="long ago"))
        assert planned.launched == []


@in_virtual_time
async def test_an_observation_asked_for_before_the_first_is_planned_is_not_taken_for_an_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        submitted = CurationJob.model_validate(running(phase="Queued", asked="long ago"))
        planned.observation.launched(key(), submitted)
        planned.work(running(interval=3600, asked="now"))
        assert planned.launched == [("job", 0)]


@in_virtual_time
async def test_the_value_from_before_the_run_asks_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        submitted = CurationJob.model_validate(running(phase="Queued", asked="long ago"))
        planned.observation.launched(key(), submitted)
        for _ in range(3):
            planned.work(running(interval=3600, asked="long ago"))
        assert planned.launched == []


@pytest.mark.parametrize("result", [StillRunning(), StillRunning({"step": 1})], ids=["nothing new", "news"])
@in_virtual_time
async def test_an_observation_asked_for_during_another_follows_it(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.work(running(interval=3600))
        planned.work(running(interval=3600, asked="1"))
        planned.work(running(interval=3600, asked="2"))
        assert len(planned.launched) == 1, "one at a time"
        planned.end("job", result)
        assert len(planned.launched) == 2, "what was asked for during an observation may be newer than what it saw"


@in_virtual_time
async def test_only_so_many_sessions_are_observed_at_once_and_none_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        names = {f"job-{n}" for n in range(OBSERVATIONS_AT_ONCE + 20)}
        for name in names:
            planned.work(running(name, interval=1))
        await asyncio.sleep(30)
        assert len(planned.launched) == OBSERVATIONS_AT_ONCE // 2
        while {name for name, _ in planned.launched} != names:
            for name in planned.flying:
                planned.end(name, StillRunning())
            await asyncio.sleep(0.1)
        assert now() < 40


@in_virtual_time
async def test_jobs_that_wait_for_room_cost_nothing_and_have_it_in_the_order_in_which_they_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        at_once = OBSERVATIONS_AT_ONCE // 2
        order = [f"job-{n:03}" for n in range(at_once + 100)]
        for name in order:
            planned.work(running(name, interval=3600))
            planned.work(running(name, interval=3600, asked="1"))
        assert [name for name, _ in planned.launched] == order[:at_once]
        await asyncio.sleep(25)
        assert len(planned.launched) == at_once
        assert rig.taken() == [], "nothing is done for them while the service hangs"
        for name in order[:at_once]:
            planned.end(name, StillRunning())
            await asyncio.sleep(0)
        assert [name for name, _ in planned.launched] == order[: 2 * at_once]
        assert rig.taken() == []


@pytest.mark.parametrize("gone", [True, False], ids=["is gone", "has completed"])
@in_virtual_time
async def test_room_that_was_offered_to_a_job_which_no_longer_needs_it_goes_to_the_next(
    gone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        names = [f"job-{n:03}" for n in range(OBSERVATIONS_AT_ONCE // 2 + 2)]
        for name in names:
            planned.work(running(name, interval=3600))
            planned.work(running(name, interval=3600, asked="1"))
        *flying, first, second = names
        planned.end(flying[0], StillRunning())
        if gone:
            rig.context.caches[JOBS].forget(NAMESPACE, first, f"uid-{first}")
            planned.observation.forget(key(first))
        else:
            planned.work(running(first, phase="Completed"))
        await asyncio.sleep(0.1)
        assert [name for name, _ in planned.launched] == [*flying, second]


@in_virtual_time
async def test_a_namespace_whose_sessions_never_answer_keeps_no_other_from_being_observed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        for n in range(5000):
            planned.work(running(f"job-{n}", interval=1))
        await asyncio.sleep(30)
        stuck = len(planned.launched)
        for place in ("b", "c", "d"):
            planned.work(running(f"job-{place}", interval=1, namespace=place))
        await asyncio.sleep(2)
        assert sorted(name for name, _ in planned.launched[stuck:]) == ["job-b", "job-c", "job-d"], "in any order"


@pytest.mark.parametrize("phase", ["Queued", "Submitted", "Completed", "Failed"])
@in_virtual_time
async def test_only_running_jobs_are_observed(phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.work(running(interval=1))
        planned.work(running(asked="now", phase=phase))
        await asyncio.sleep(100)
        assert planned.launched == []


@pytest.mark.parametrize(
    "change",
    [
        {"deletionTimestamp": "2026-01-01T00:01:00Z"},
        {"generation": 2},
    ],
    ids=["is being deleted", "has another template"],
)
@in_virtual_time
async def test_a_job_that_its_reconciler_has_not_come_to_yet_is_not_observed_if_the_fence_objects(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.work(running(interval=1))
        rig.context.caches[JOBS].put(running(interval=1, **change))
        await asyncio.sleep(100)
        assert planned.launched == []


@in_virtual_time
async def test_a_job_that_is_being_deleted_is_not_observed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        planned.work(running(interval=3600))
        planned.work(running(asked="1", deletionTimestamp="2026-01-01T00:01:00Z"))
        await asyncio.sleep(100)
        assert planned.launched == []


async def denied_once(rig: Rig, planned: Planned) -> None:
    """A Running job whose observation was denied just now; the next is an hour away."""
    planned.work(running(interval=3600))
    planned.work(running(interval=3600, asked="1"))
    planned.end("job", DENIED)
    rig.taken()
    assert len(planned.launched) == 1


async def look_when_woken(rig: Rig, planned: Planned) -> int:
    """Work on the job while it is to be worked on now; how many observations there were."""
    while rig.taken():
        planned.work(running(interval=3600, asked="1"))
        for _ in range(10):  # what it has asked is answered
            await asyncio.sleep(0)
    return len(planned.launched)


@pytest.mark.parametrize("how", ["policy", "cluster policy", "approval"])
@in_virtual_time
async def test_what_was_denied_is_observed_again_as_soon_as_it_is_allowed(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned, book = Planned(rig, monkeypatch), rig.book
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
        planned.work(running(interval=3600))
        planned.work(running(interval=3600, asked="1"))
        rig.book.put_policy(NAMESPACE, "ours", PERMIT)
        planned.end("job", DENIED)
        for _ in range(10):
            await asyncio.sleep(0)
        assert await look_when_woken(rig, planned) == 2


@in_virtual_time
async def test_a_change_that_does_not_allow_what_was_denied_asks_for_no_observation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        await denied_once(rig, planned)
        rig.book.put_policy(NAMESPACE, "ours", UNRELATED)
        rig.book.put_policy("elsewhere", "ours", PERMIT)
        assert await look_when_woken(rig, planned) == 1


@in_virtual_time
async def test_an_observation_that_is_denied_although_allowed_keeps_its_backoff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        planned = Planned(rig, monkeypatch)
        await denied_once(rig, planned)
        rig.book.put_policy(NAMESPACE, "ours", PERMIT)
        assert await look_when_woken(rig, planned) == 2
        planned.end("job", DENIED)
        for _ in range(3):
            planned.work(running(interval=3600, asked="1"))
        assert len(planned.launched) == 2
