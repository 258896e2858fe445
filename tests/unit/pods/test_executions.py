"""What is said of an execution whose guest is in a pod, before its pod was heard and after that was given up."""

from dataclasses import replace

from curation.execution.in_process import InProcessExecutor
from curation.execution.seam import Lost, Waiting
from curation.lifecycle.outcome import Calls
from curation.pods.guests import PodGuests
from tests.guests.wat import Script
from tests.unit.execution.conformance import DONE, post
from tests.unit.execution.conftest import Heard, Rig, until
from tests.unit.execution.conftest import rig as in_process
from tests.unit.workers.rigs import end_of

__all__ = ["in_process"]


async def started(rig: Rig, *, resumed: bool) -> tuple[Heard, PodGuests]:
    """An execution that awaits a pod, which does not come."""
    wide = rig.executor
    request = rig.request(Script().call(post(rig, "/")).ok(DONE))
    guests = PodGuests(request.module.limits, resumed=resumed, artifact=lambda _: 0)
    executor = InProcessExecutor(
        wide.store, wide.gate, wide.sender, rig.stock, guests=wide.guests, guests_of=lambda _: guests
    )
    heard = Heard(executor, replace(request, in_pod=True, resumed=resumed))
    await until(lambda: Waiting("its pod is started") in heard.words)
    return heard, guests


async def test_a_resumed_run_that_is_stopped_before_its_pod_was_heard_has_calls_that_are_unknown(
    in_process: Rig,
) -> None:
    heard, guests = await started(in_process, resumed=True)
    heard.stop("the template changed")
    end = await end_of(heard)
    assert isinstance(end, Lost)
    assert end.calls is None
    await guests.close()


async def test_a_resumed_run_whose_pod_does_not_come_has_calls_that_are_unknown(in_process: Rig) -> None:
    heard, guests = await started(in_process, resumed=True)
    guests.lose("its pod is gone", over_limit=True)
    assert await end_of(heard) == Lost("its pod is gone", None, True)


async def test_a_run_whose_pod_never_came_has_made_no_call(in_process: Rig) -> None:
    heard, guests = await started(in_process, resumed=False)
    guests.lose("its pod is gone")
    assert await end_of(heard) == Lost("its pod is gone", Calls())
    heard._executor.settled(heard.request.execution)
    heard._executor.attach(heard.request, heard.hear)
    assert heard.words[-1] == Lost("this process does not execute it")


async def test_the_end_of_a_run_that_was_lost_is_said_again(in_process: Rig) -> None:
    heard, guests = await started(in_process, resumed=False)
    guests.lose("its pod is gone")
    end = await end_of(heard)
    heard._executor.attach(heard.request, heard.hear)
    assert heard.words[-2:] == [end, end]
