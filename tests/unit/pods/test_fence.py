"""No byte of a guest in a pod leaves after a stop; what else can come in between is in `tests/gauntlet/pods`."""

from curation.execution.seam import Left
from curation.lifecycle.outcome import Calls, Failed
from tests.guests import hostile
from tests.guests.wat import Script
from tests.unit.execution.conformance import DONE, post
from tests.unit.execution.conftest import ended
from tests.unit.pods.rigs import PodRig
from tests.unit.workers.rigs import end_of


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


async def test_a_pod_whose_run_was_stopped_before_it_came_ends_when_that_is_settled(rig: PodRig) -> None:
    request = rig.request(Script().call(post(rig, "/")).ok(DONE))
    heard = rig.ask(request)
    heard.stop("the template changed")
    await end_of(heard)
    rig.executor.settled(heard.request.execution)
    assert rig.peer.seen == []
    pod = rig.cluster.pods.get(heard.request.execution)
    assert pod is None or pod.ended
