"""No byte leaves after a stop or a withdrawn permission, whatever the worker does in that moment: guests in pods."""

import asyncio
import signal

from curation.execution.seam import Left
from curation.lifecycle.outcome import Calls, Failed
from tests.guests import hostile
from tests.guests.wat import Script
from tests.unit.execution.conformance import DONE, held, post
from tests.unit.execution.conftest import ended
from tests.unit.pods.rigs import PodRig
from tests.unit.workers.rigs import end_of
from tests.unit.workers.test_fence_under_pressure import (
    test_a_permission_that_is_withdrawn_while_the_worker_is_stopped_lets_nothing_leave,
    test_a_worker_that_is_stopped_between_two_calls_sends_no_more_after_it_is_continued,
    test_the_page_alone_stops_a_worker_that_has_not_heard_of_the_stop,
    test_what_is_decided_slowly_is_decided_anew_when_a_permission_is_withdrawn_meanwhile,
    test_while_the_frames_about_a_withdrawn_permission_are_on_their_way_nothing_leaves,
)

__all__ = [
    "test_a_permission_that_is_withdrawn_while_the_worker_is_stopped_lets_nothing_leave",
    "test_a_worker_that_is_stopped_between_two_calls_sends_no_more_after_it_is_continued",
    "test_the_page_alone_stops_a_worker_that_has_not_heard_of_the_stop",
    "test_what_is_decided_slowly_is_decided_anew_when_a_permission_is_withdrawn_meanwhile",
    "test_while_the_frames_about_a_withdrawn_permission_are_on_their_way_nothing_leaves",
]


async def test_after_a_stop_no_call_of_a_guest_that_calls_without_end_leaves(rig: PodRig) -> None:
    heard = rig.start(Script().call(post(rig, "/"), times=60).ok(DONE))
    await rig.peer.reached("/", 3)
    heard.stop("the template changed")
    left = len([word for word in heard.words if isinstance(word, Left)])
    report = await ended(heard)
    assert report.dead
    assert report.calls.left <= left + 1, "one may have been said, and not been heard, when the stop came"
    assert rig.peer.count("/") == report.calls.left


async def test_a_guest_in_a_pod_that_spins_is_interrupted_by_a_stop(rig: PodRig) -> None:
    heard = rig.start(Script().call(post(rig, "/")).ends_with(hostile.SPIN))
    await rig.peer.reached("/")
    heard.stop("the template changed")
    report = await ended(heard)
    assert isinstance(report.result, Failed)
    assert report.dead
    assert report.calls == Calls(left=1, answered=1, allowed=1)


async def test_a_stop_does_not_wait_for_a_pod_that_takes_nothing(rig: PodRig) -> None:
    """The peer sees nothing more of it, though its pod has heard of nothing."""
    heard = rig.start(held(rig).call(post(rig, "/more")).ok(DONE))
    await rig.peer.reached("/hold")
    pod = rig.pod(heard).process
    assert pod is not None
    pod.send_signal(signal.SIGSTOP)
    heard.stop("suspended")
    rig.peer.go_on.set()
    await asyncio.sleep(0)
    pod.send_signal(signal.SIGCONT)
    report = await ended(heard)
    assert rig.peer.count("/more") == 0
    assert report.calls.left == 1


async def test_a_pod_whose_run_was_stopped_before_it_came_ends_when_that_is_settled(rig: PodRig) -> None:
    request = rig.request(Script().call(post(rig, "/")).ok(DONE))
    heard = rig.ask(request)
    heard.stop("the template changed")
    await end_of(heard)
    rig.executor.settled(heard.request.execution)
    assert rig.peer.seen == []
    pod = rig.cluster.pods.get(heard.request.execution)
    assert pod is None or pod.ended
