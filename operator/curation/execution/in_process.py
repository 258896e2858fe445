"""Executes modules in this process: each guest in a thread of a bounded pool, its calls on the event loop.

wasmtime releases the GIL while a guest runs, so threads are enough. A thread is held for as long as its guest lives,
waits for slow services included: the pool's size is the number of executions at a time.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final

from curation.execution.guest_execution import GuestExecution
from curation.execution.ledger import Ledger
from curation.execution.probe import GuestProbe
from curation.execution.seam import (
    Authorizer,
    ExecutionObserver,
    ExecutionRequest,
    Fence,
    Modules,
    Sender,
    Sink,
    Supplies,
)
from curation.wasm.seats import Seats
from curation.wasm.watchdog import Watchdog

MAX_CONCURRENT = 256
"""Default size of the pool."""

MOST_CONCURRENT = 4096
"""wasmtime was measured to take about 5,000 live instances in one process."""

GUEST_NICE: Final = 10
"""How much lower the priority of a guest's thread is than the event loop's. Of hundreds of guests that compute, on few
processors, each had as much as the loop, which then took nothing for seconds."""


class InProcessExecutor(Ledger[GuestExecution]):
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
        on_no_memory: Callable[[MemoryError], None] = lambda _: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`fence_of` is for a process that hears of what decides later than others. `on_no_memory` hears that a run has
        found none, which is then a failure of that run, unless this does not return.

        `clock` gives the time that deadlines begin with; it and `probe` are called in the guests' threads.

        Raises ValueError for a `max_concurrent` that cannot be served.
        """
        if not 1 <= max_concurrent <= MOST_CONCURRENT:
            raise ValueError(f"max_concurrent must be 1 to {MOST_CONCURRENT}, not {max_concurrent}")
        super().__init__(observer)
        self.store = store
        self.gate = gate
        self.sender = sender
        self.supplies = supplies
        self.clock = clock
        self.probe = probe
        self.fence_of = fence_of
        self.on_no_memory = on_no_memory
        self.watchdog = Watchdog()
        self.seats = Seats()
        self.pool = ThreadPoolExecutor(max_concurrent, "wasm-guest", _give_way)
        self.concluding = threading.Lock()
        self._most = max_concurrent
        self._closed = False
        self.in_flight = 0
        """Executions that have not ended."""

    @property
    def is_full(self) -> bool:
        """Whether one more execution would wait for a thread."""
        return self.in_flight > self._most

    def _begin(self, request: ExecutionRequest, sink: Sink, why: str | None) -> None:
        self.in_flight += 1
        execution = self._executions[request.execution] = GuestExecution(request, sink, self)
        if why is not None:
            execution.kill(why)
        if self._closed:
            execution.abort()

    def _kill(self, known: GuestExecution, why: str) -> None:
        known.kill(why)

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
        self.seats.close()

    def _going(self) -> list[GuestExecution]:
        return [each for each in self._executions.values() if not each.task.done()]


def _give_way() -> None:
    """Lower the priority of this thread."""
    if sys.platform == "linux":  # elsewhere a priority is of the whole process
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + GUEST_NICE))
