"""What every executor does, whatever it executes in: subclass the suite with a `rig` whose executor is yours."""

import asyncio
from dataclasses import replace
from typing import Any

from curation.execution.seam import Accepted, Answered, Ended, Held, Left, Lost, Word
from curation.lifecycle.outcome import Calls, Cancelled, Completed, Failed, Liveness, Trigger
from tests.guests.wat import Script
from tests.unit.execution.conftest import GENEROUS, Heard, Rig, ended

DONE = {"action": "Completed", "output": {}}


def post(rig: Rig, path: str) -> dict[str, Any]:
    return {"method": "POST", "url": rig.peer.url(path), "body": "{}"}


def later(execution: str) -> Held:
    """Of a run that another process has claimed just now."""
    return Held(execution, own=False, inherited=False, unchanged=0.0, longest=120.0)


def held(rig: Rig) -> Script:
    """Makes one call that is answered when the peer is told to."""
    return Script().call(post(rig, "/hold"))


class ExecutorConformance:
    """The suite."""

    async def test_what_is_said_begins_with_accepted_tells_of_each_call_and_ends_once(self, rig: Rig) -> None:
        heard = rig.start(Script().call(post(rig, "/"), times=2).ok(DONE))
        report = await ended(heard)
        calls = [word for word in heard.words if isinstance(word, Left | Answered)]
        assert heard.words[0] == Accepted()
        assert calls == [Left(1), Answered(1), Left(2), Answered(2)]
        assert heard.words[-1] == Ended(report)
        assert heard.words.count(Ended(report)) == 1
        assert report.calls == Calls(left=2, answered=2, allowed=2)

    async def test_that_a_call_leaves_is_said_before_it_is_seen(self, rig: Rig) -> None:
        heard = rig.start(held(rig).ok(DONE))
        await rig.peer.reached("/hold")
        assert heard.words[-1] == Left(1)
        rig.peer.go_on.set()
        await ended(heard)

    async def test_an_execution_is_executed_once_however_often_it_is_started(self, rig: Rig) -> None:
        request = rig.request(held(rig).ok(DONE))
        first = Heard(rig.executor, request)
        await rig.peer.reached("/hold")
        second = Heard(rig.executor, request)
        rig.peer.go_on.set()
        report = await ended(second)
        third = Heard(rig.executor, request)
        assert await ended(third) == report
        assert not first.ended.done(), "who starts it last hears of it"
        assert rig.peer.count("/hold") == 1
        assert rig.notes.started == [request]

    async def test_executions_of_one_run_with_other_numbers_are_others(self, rig: Rig) -> None:
        request = rig.request(Script().call(post(rig, "/")).ok(DONE), Trigger.OBSERVE)
        for _ in range(2):
            await ended(rig.ask(request))
        assert rig.peer.count("/") == 2

    async def test_who_attaches_hears_the_end_and_of_an_unknown_execution_that_it_is_lost(self, rig: Rig) -> None:
        heard = rig.start(held(rig).ok(DONE))
        await rig.peer.reached("/hold")
        words: list[Word] = []
        rig.executor.attach(replace(heard.request, number=99), lambda _, word: words.append(word))
        assert isinstance(words[0], Lost)
        assert words[0].calls is None
        rig.executor.attach(heard.request, heard.hear)
        rig.peer.go_on.set()
        report = await ended(heard)
        rig.executor.attach(heard.request, heard.hear)
        assert heard.words[-2:] == [Ended(report)] * 2, "it is said again until it is settled"

    async def test_one_that_was_stopped_before_it_was_started_never_begins(self, rig: Rig) -> None:
        request = rig.request(Script().call(post(rig, "/")).ok(DONE))
        rig.executor.stop(request.execution, "the template changed")
        rig.executor.stop(request.execution, "again")
        report = await ended(Heard(rig.executor, request))
        assert report.dead
        assert isinstance(report.result, Failed)
        assert report.calls == Calls()
        assert rig.peer.seen == []

    async def test_one_that_is_stopped_in_the_moment_in_which_it_is_started_ends(self, rig: Rig) -> None:
        heard = rig.start(Script().call(post(rig, "/")).ok(DONE))
        heard.stop("the template changed")
        report = await ended(heard)
        assert report.dead
        assert report.calls == Calls()
        assert rig.peer.seen == []

    async def test_a_stop_lets_no_further_call_leave_and_a_second_one_changes_nothing(self, rig: Rig) -> None:
        heard = rig.start(held(rig).call(post(rig, "/more")).ok(DONE))
        await rig.peer.reached("/hold")
        heard.stop("suspended")
        heard.stop("and deleted")
        rig.peer.go_on.set()
        report = await ended(heard)
        assert report.dead
        assert report.calls == Calls(left=1, answered=1, allowed=1)
        assert rig.peer.count("/more") == 0

    async def test_a_cancel_is_not_stopped(self, rig: Rig) -> None:
        request = rig.request(held(rig).call(post(rig, "/more")).ok({"action": "Cancelled"}), Trigger.CANCEL)
        rig.executor.stop(request.execution, "deleted")
        heard = Heard(rig.executor, request)
        await rig.peer.reached("/hold")
        heard.stop("deleted")
        rig.peer.go_on.set()
        report = await ended(heard)
        assert (report.result, report.dead) == (Cancelled(), False)
        assert rig.peer.count("/more") == 1

    async def test_settled_is_for_what_has_ended_and_forgets_it(self, rig: Rig) -> None:
        heard = rig.start(held(rig).ok(DONE))
        await rig.peer.reached("/hold")
        rig.executor.settled(heard.request.execution)
        rig.peer.go_on.set()
        assert (await ended(heard)).result == Completed({})
        rig.executor.settled(heard.request.execution)
        rig.executor.settled(heard.request.execution)
        rig.executor.attach(heard.request, heard.hear)
        assert isinstance(heard.words[-1], Lost)

    async def test_one_that_was_stopped_and_is_never_started_is_forgotten_when_that_is_settled(self, rig: Rig) -> None:
        request = rig.request(Script().ok(DONE))
        rig.executor.stop(request.execution, "deleted")
        rig.executor.settled(request.execution)
        assert not (await ended(Heard(rig.executor, request))).dead

    async def test_it_is_alive_until_its_end_and_an_unknown_one_is_neither_alive_nor_gone(self, rig: Rig) -> None:
        heard = rig.start(held(rig).ok(DONE))
        execution = heard.request.execution
        await rig.peer.reached("/hold")
        assert rig.executor.liveness(later(execution)) is Liveness.ALIVE
        rig.peer.go_on.set()
        await ended(heard)
        assert rig.executor.liveness(later(execution)) is Liveness.GONE
        assert rig.executor.liveness(later("uid-9.g1.a1/Submit/1")) is Liveness.UNKNOWN

    async def test_a_drain_awaits_the_wire_and_what_is_started_after_it_ends_at_once(self, rig: Rig) -> None:
        heard = rig.start(held(rig).call(post(rig, "/more")).ok(DONE))
        await rig.peer.reached("/hold")
        draining = asyncio.create_task(rig.executor.drain(GENEROUS))
        await asyncio.sleep(0)
        rig.peer.go_on.set()
        await draining
        late = await ended(rig.start(Script().call(post(rig, "/late")).ok(DONE)))
        assert late.dead
        assert (await ended(heard)).calls == Calls(left=1, answered=1, allowed=1)
        assert [seen.path for seen in rig.peer.seen] == ["/hold"]
