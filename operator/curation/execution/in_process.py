"""Executes modules with this process's gate and client: so many guests at a time, their calls on the event loop.

The guests are in threads of this process, or wherever else whoever runs them has them (see `guests`).
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from curation.execution.guest_calls import Aside
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
from curation.guests.seam import Guests
from curation.guests.threads import ThreadGuests

MAX_CONCURRENT = 256
"""Guests at a time, by default."""

MOST_CONCURRENT = 4096
"""wasmtime was measured to take about 5,000 live instances in one process."""


class InProcessExecutor(Ledger[GuestExecution]):
    """Runs at most `max_concurrent` guests at a time; further executions wait. See `seam.Executor`."""

    def __init__(
        self,
        store: Modules,
        gate: Authorizer,
        sender: Sender,
        supplies: Supplies,
        *,
        guests: Guests | None = None,
        guests_of: Callable[[ExecutionRequest], Guests | None] = lambda _: None,
        max_concurrent: int = MAX_CONCURRENT,
        observer: ExecutionObserver | None = None,
        probe: GuestProbe | None = None,
        fence_of: Callable[[ExecutionRequest], Fence | None] = lambda _: None,
        on_no_memory: Callable[[MemoryError], None] = lambda _: None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`guests` (None: threads of this process) is whoever runs them, but those of whom `guests_of` knows another.
        `fence_of` is for a process that hears of what decides later than others. `on_no_memory` hears that a run has
        found none, which is then a failure of that run, unless this does not return.

        `clock` gives the time that deadlines begin with. `probe` may be called in the guests' threads.

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
        self.guests = guests or ThreadGuests(max_concurrent)
        self._guests_of = guests_of
        self.aside = Aside()
        self.places = asyncio.Semaphore(max_concurrent)
        """One is held for as long as a guest lives, waits for slow services included."""
        self._closed = False
        self.in_flight = 0
        """Executions that have not ended."""

    def guests_of(self, request: ExecutionRequest) -> Guests:
        """Whoever runs the guest of this execution."""
        return self._guests_of(request) or self.guests

    async def take_place(self, guests: Guests) -> None:
        """Wait until one more guest can be run by them, and may be."""
        await guests.ready()
        await self.places.acquire()

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
        """See `seam.Executor`. No guest is left, and no thread; those in pods go on, and nothing is said of them."""
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
        await self.guests.close()
        self.aside.close()

    def _going(self) -> list[GuestExecution]:
        return [each for each in self._executions.values() if not each.task.done() and not each.request.in_pod]
