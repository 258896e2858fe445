"""The operator's own `Cleanup`, step by step: between a Cancel and what is made of its answer, anything may come.

Its queue is the model's process, which asks it again and again.
"""

from collections.abc import Coroutine
from itertools import chain
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from curation.api.names import EventReason, FailureClass, Trigger
from curation.lifecycle.event import Event
from curation.lifecycle.outcome import Cancelled, Failed, Report
from curation.reconciler.jobs.cleanup import Cleanup
from curation.reconciler.jobs.orders import Order
from tests.models.documents import WALL
from tests.models.executions import Step
from tests.models.settlement import METRICS

if TYPE_CHECKING:
    from tests.models.process import Process


def cleanup(process: "Process") -> Cleanup:
    """The clean-up of a process; each Cancel is one of its tasks."""

    def start(coro: Coroutine[Any, Any, None], *, name: str) -> Any:
        steps = coro.__await__()
        process.spawn(name, chain([next(steps)], steps))
        return _Started()

    context: Any = _Context(process)
    runs: Any = _Runs(process)
    modules: Any = SimpleNamespace(wall_seconds=lambda namespace, module: WALL.total_seconds())
    return Cleanup(
        context, process.memories, runs, modules, start=start, pause=lambda seconds: Step("waits"), sample=lambda: 0.5
    )


class _Started:
    """A Cancel that was begun; it is never stopped, and forgotten with its process."""

    def add_done_callback(self, forget: object) -> None:
        """Nothing is to be forgotten before that."""


class _Context:
    """What `Cleanup` needs of a process."""

    def __init__(self, process: "Process") -> None:
        self._process = process
        self.clock = SimpleNamespace(now=lambda: process.world.now)
        self.queue = SimpleNamespace(add=lambda key: None, add_after=lambda key, seconds: None)
        self.metrics = METRICS

    def record_event(self, regarding: object, event: Event, log_fields: dict[str, str]) -> None:
        """An Event; a run that is given up may leave a session."""
        if event.reason is EventReason.CLEANUP_FAILED:
            self._process.world.checker.given_up.add(log_fields["run_id"])


class _Runs:
    """The Cancels of a process."""

    def __init__(self, process: "Process") -> None:
        self._process = process

    async def cancel(self, order: Order) -> Report:
        """Whatever may come before it, and before its answer."""
        world = self._process.world
        await Step("about to cancel")
        failed, world.cancel_fails = world.cancel_fails, False
        if not failed:
            world.service.cancel(order.run.id, order.session.id if order.session is not None else None)
        await Step("cancelled")
        result = Failed(FailureClass.HTTP_UNAVAILABLE, "connection refused") if failed else Cancelled()
        return Report(Trigger.CANCEL, order.run, result)
