"""Executes modules in this process: each guest in a thread of a bounded pool, its calls on the event loop.

wasmtime releases the GIL while a guest runs, so threads are enough. A thread is held for as long as its guest lives,
waits for slow services included: the pool's size is the number of executions at a time.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from curation.execution.guest_execution import GuestExecution
from curation.execution.probe import GuestProbe
from curation.execution.seam import (
    Authorizer,
    Ended,
    ExecutionObserver,
    ExecutionRequest,
    Fence,
    Held,
    Lost,
    Modules,
    Sender,
    Sink,
    Supplies,
    process_liveness,
)
from curation.lifecycle.outcome import Liveness
from curation.wasm.watchdog import Watchdog

logger = logging.getLogger(__name__)

MAX_CONCURRENT = 256
"""Default size of the pool."""

MOST_CONCURRENT = 4096
"""wasmtime was measured to take about 5,000 live instances in one process."""


class InProcessExecutor:
    """Runs at most `max_concurrent` guests at a time; further executions wait for a thread. See `seam.Executor`."""

    def __init__(
        self,
        store: Modules,
        gate: Authorizer,
        sender: Sender,
        supplies: Supplies,
        *,
        max_concurrent: int = MAX_CONCURRENT,
        observer: ExecutionObserver | None = None,
        probe: GuestProbe | None = None,
        fence_of: Callable[[ExecutionRequest], Fence | None] = lambda _: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`fence_of` is for a process that hears of what decides later than others.

        `clock` gives the time that deadlines begin with; it and `probe` are called in the guests' threads.

        Raises ValueError for a `max_concurrent` that cannot be served.
        """
        if not 1 <= max_concurrent <= MOST_CONCURRENT:
            raise ValueError(f"max_concurrent must be 1 to {MOST_CONCURRENT}, not {max_concurrent}")
        self.store = store
        self.gate = gate
        self.sender = sender
        self.supplies = supplies
        self.clock = clock
        self.probe = probe
        self.fence_of = fence_of
        self.watchdog = Watchdog()
        self.pool = ThreadPoolExecutor(max_workers=max_concurrent, thread_name_prefix="wasm-guest")
        self.concluding = threading.Lock()
        self._most = max_concurrent
        self._observer = observer
        self._executions: dict[str, GuestExecution] = {}
        """That were started and are not settled."""
        self._stopped: dict[str, str] = {}
        """Why executions are not to begin that were not started yet."""
        self._closed = False
        self.in_flight = 0
        """Executions that have not ended."""

    @property
    def is_full(self) -> bool:
        """Whether one more execution would wait for a thread."""
        return self.in_flight > self._most

    def start(self, request: ExecutionRequest, sink: Sink) -> None:
        """See `seam.Executor`."""
        known = self._executions.get(request.execution)
        if known is not None:
            self.attach(request.execution, sink)
            return
        self.in_flight += 1
        execution = self._executions[request.execution] = GuestExecution(request, sink, self)
        why = self._stopped.pop(request.execution, None)
        if why is not None:
            execution.kill(why)
        if self._closed:
            execution.abort()

    def attach(self, execution: str, sink: Sink) -> None:
        """See `seam.Executor`."""
        known = self._executions.get(execution)
        if known is None:
            sink(execution, Lost("this process does not execute it"))
            return
        known.sink = sink
        if known.report is not None:
            known.say(Ended(known.report))

    def stop(self, execution: str, why: str) -> None:
        """See `seam.Executor`."""
        known = self._executions.get(execution)
        if known is None:
            self._stopped[execution] = why
        else:
            known.kill(why)

    def settled(self, execution: str) -> None:
        """See `seam.Executor`."""
        self._stopped.pop(execution, None)
        known = self._executions.get(execution)
        if known is not None and known.report is not None:
            del self._executions[execution]

    def liveness(self, held: Held) -> Liveness:
        """See `seam.Executor`. What another process executes is not known here."""
        known = self._executions.get(held.execution)
        if known is None:
            return process_liveness(held, Liveness.UNKNOWN)
        return Liveness.ALIVE if known.report is None else Liveness.GONE

    async def drain(self, grace: float) -> None:
        """See `seam.Executor`. No thread is left."""
        self._closed = True
        for execution in self._going():
            execution.kill("the operator stops")
        if self._going():
            await asyncio.wait([execution.task for execution in self._going()], timeout=grace)
        # Nothing of theirs waits longer than one step now; the loop only makes sure that none is left out.
        while self._going():
            for execution in self._going():
                execution.abort()
            await asyncio.wait([execution.task for execution in self._going()], timeout=0.1)
        # Off the loop: a guest whose execution was cancelled from outside may still wait for this very loop. And in a
        # thread of its own: those of the default executor may all be held by others.
        own = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wasm-pool-end")
        shutdown = asyncio.get_running_loop().run_in_executor(own, self.pool.shutdown)
        own.shutdown(wait=False)  # takes nothing more
        await shutdown
        own.shutdown()  # its thread has nothing left to do
        self.watchdog.stop()

    def notify(self, about: ExecutionRequest, what: Callable[[ExecutionObserver], None]) -> None:
        """Notifies the observer, whose failures are its own."""
        if self._observer is None:
            return
        try:
            what(self._observer)
        except Exception:
            logger.exception("an observer of executions failed", extra=about.log_fields)

    def _going(self) -> list[GuestExecution]:
        return [each for each in self._executions.values() if not each.task.done()]
