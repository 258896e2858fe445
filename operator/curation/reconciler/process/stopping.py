"""How a process ends: the steps in their order, each with the time that it may take.

Whoever makes a part says how it is ended, under the name of its step. The table is the order, whatever was made first,
and a step whose part was never made is left out. A step that fails is logged; one that hangs is passed over.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from curation.cluster import lease, sockets
from curation.reconciler.runtime import health_server

log = logging.getLogger(__name__)

End = Callable[[], Awaitable[None] | None]

# Of a call on the wire when its run is stopped. With the time to drain it is most of the 2 s that a failover may take.
GRACE_SECONDS: Final = 0.25
# From SIGTERM on, all waiting that another program can draw out: an API server that does not answer, a slow session
# service. The whole stop may take 5 s. The drain, the grace and the lease are first; what is only tidy gets the rest.
STOP_SECONDS: Final = 3.5
EVENTS_SECONDS: Final = 2.0
"""For the Events that are still to be written."""
NOTICES_SECONDS: Final = 1.0
"""For the notices that are under way."""
# Nobody else can draw out what these steps wait for: it is the bound of a bug, for each.
_OURS: Final = 0.5
_INSTANT: Final = 0.25


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a stop."""

    name: str
    seconds: float
    """What it may take; then it is passed over."""
    tidy: bool = False
    """It may take no more than is left of `STOP_SECONDS`, and no time when another process is about to lead."""


WORK: Final = (
    Step("executions", _OURS),  # no request of theirs leaves from here on
    Step("cancels", _OURS),
    Step("loads of modules", _OURS),
    # Before kopf's end, which cancels the tasks of executions: their guests would go on in their threads.
    Step("executor", GRACE_SECONDS + 0.75),
)
"""The end of the work. Also for a process that has lost the lease, at once."""


def steps(drain_seconds: float) -> tuple[Step, ...]:
    """All steps, in their order."""
    return (
        Step("drain", drain_seconds),  # runs in flight end and are written; what is left is the next holder's
        Step("workers", _OURS),
        *WORK,  # before the lease is released: no two processes are to work at once
        Step("lease", lease.RELEASE_SECONDS + _OURS),
        *WORK,  # what had begun when the lease was lost in this very moment
        Step("kopf", 3.0, tidy=True),
        Step("what kopf has left", _OURS),
        Step("webhook", _OURS),
        Step("checkers", _OURS),
        Step("http server", health_server.SHUTDOWN_SECONDS + _OURS),
        Step("files", _INSTANT),
        Step("registries", _OURS),
        Step("shipped modules", _INSTANT),
        Step("module store", _OURS),
        Step("queue", _INSTANT),
        Step("events", EVENTS_SECONDS + _OURS, tidy=True),
        Step("notices", NOTICES_SECONDS + _OURS, tidy=True),
        Step("connection", sockets.CLOSE_SECONDS + _OURS),
    )


class StopPlan:
    """The stop of one process."""

    def __init__(self, steps: Sequence[Step], patience: Callable[[float], float]) -> None:
        """`patience` says how much of these seconds something may take that is only tidy."""
        self._steps = tuple(steps)
        self._patience = patience
        self._ends: dict[str, list[End]] = {step.name: [] for step in steps}

    def add(self, step: str, end: End) -> None:
        """End a part so. Parts of one step end in the reverse order of this; a step may be taken again."""
        self._ends[step].insert(0, end)

    async def run(self) -> list[str]:
        """Take all steps. Returns those that were passed over."""
        return await self.take(self._steps)

    async def take(self, steps: Sequence[Step]) -> list[str]:
        """Take these steps in their order. Returns those that were passed over.

        A cancellation is raised at the end: what is half stopped would go on, and nobody would end it.
        """
        passed_over, cancelled = list[str](), False
        for step in steps:
            if not (ends := self._ends[step.name]):
                continue
            seconds = self._patience(step.seconds) if step.tidy else step.seconds
            taking = asyncio.create_task(_take(step.name, tuple(ends)), name=f"stop: {step.name}")
            try:
                await asyncio.wait({taking}, timeout=seconds)
            except asyncio.CancelledError:
                cancelled = True
            if not taking.done():
                passed_over.append(step.name)
                if seconds > 0:
                    log.warning("the stop passes over %s, which has not ended in %g s", step.name, seconds)
                else:
                    log.info("the stop has no time to wait for %s", step.name)
                taking.cancel()
        if cancelled:
            raise asyncio.CancelledError
        return passed_over


async def _take(name: str, ends: Sequence[End]) -> None:
    for end in ends:
        try:
            ending = end()
            if ending is not None:
                await ending
        except Exception:
            log.exception("the stop of %s has failed", name)
