"""The Cancels of the operator's own `Cleanup`: between one and what is made of its answer, anything may come."""

from collections.abc import Callable, Coroutine
from itertools import chain
from typing import TYPE_CHECKING, Any

from curation.api.names import FailureClass, Trigger
from curation.lifecycle.outcome import Cancelled, Failed, Report
from curation.reconciler.jobs.cleanup import Cleanup
from curation.reconciler.jobs.orders import Order
from tests.models.executions import Step

if TYPE_CHECKING:
    from tests.models.process import Process


def cleanup(process: "Process") -> Cleanup:
    """The clean-up of a process; each Cancel is one of its tasks."""

    def start(coro: Coroutine[Any, Any, None], *, name: str) -> Any:
        steps = coro.__await__()
        process.spawn(name, chain([next(steps)], steps))
        return _Started()

    runs: Any = _Runs(process)
    return Cleanup(
        process.context,
        process.memories,
        runs,
        process.modules,
        start=start,
        pause=lambda seconds: Step("waits"),
        sample=lambda: 0.5,
    )


class _Started:
    """A Cancel that was begun; it is never stopped, and forgotten with its process."""

    def add_done_callback(self, forget: object) -> None:
        """Nothing is to be forgotten before that."""


class _Runs:
    """The Cancels of a process."""

    def __init__(self, process: "Process") -> None:
        self._process = process

    async def cancel(self, order: Order, on_begin: Callable[[], None]) -> Report:
        """Whatever may come before it, and before its answer."""
        on_begin()
        world = self._process.world
        await Step("about to cancel")
        failed, world.cancel_fails = world.cancel_fails, False
        if not failed:
            world.service.cancel(order.run.id, order.session.id if order.session is not None else None)
        await Step("cancelled")
        result = Failed(FailureClass.HTTP_UNAVAILABLE, "connection refused") if failed else Cancelled()
        return Report(Trigger.CANCEL, order.run, result)
