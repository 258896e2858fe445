"""No byte leaves after a stop or a withdrawn permission, whatever the worker does in that moment: guests in pods."""

import asyncio
import signal

from tests.unit.execution.conformance import DONE, held, post
from tests.unit.execution.conftest import ended
from tests.unit.pods.rigs import PodRig
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
