"""The part of the workers' executor that deals with executions whose guests are in pods."""

import asyncio
import contextlib
import socket
from dataclasses import replace
from typing import Final

from curation.execution.ledger import Ledger
from curation.execution.seam import ExecutionObserver, ExecutionRequest, Held, Sink, Waiting, process_liveness
from curation.lifecycle.outcome import Liveness
from curation.pods.seam import GuestPods
from curation.workers.execution import Execution

MOST_DEATHS: Final = 3
"""A run in a pod whose workers have died so often is lost with the next one."""


class PodLedger(Ledger[Execution]):
    """Which executions there are; those in pods go on when this process ends."""

    def __init__(self, observer: ExecutionObserver | None, pods: GuestPods | None) -> None:
        """`pods` (None: there are none) has them made."""
        super().__init__(observer)
        self._pods = pods

    def attach(self, request: ExecutionRequest, sink: Sink) -> None:
        """See `seam.Executor`."""
        pods = self._pods if request.in_pod and request.execution not in self._executions else None
        if pods is not None and pods.liveness(request.execution) is not Liveness.GONE:
            request = replace(request, resumed=True)
            self._begin(request, sink, self._stopped.pop(request.execution, None))
        else:
            super().attach(request, sink)

    def settled(self, execution: str) -> None:
        """See `seam.Executor`."""
        known = self._executions.get(execution)
        super().settled(execution)
        if self._pods is not None and (known is None or (known.request.in_pod and known.end is not None)):
            self._pods.ended(execution)

    def liveness(self, held: Held) -> Liveness:
        """See `seam.Executor`. What is in a pod goes on without the process that has claimed it."""
        if self._pods is not None and held.in_pod and held.execution not in self._executions:
            lives = self._pods.liveness(held.execution)
            return process_liveness(held, Liveness.UNKNOWN) if lives is Liveness.GONE else lives
        return super().liveness(held)

    def join(self, execution: str, sock: socket.socket) -> bool:
        """The pod of this execution is at the other end of the socket, of which the caller closes this copy.

        False while no worker awaits it.
        """
        known = self._executions.get(execution)
        if known is None or not known.request.in_pod or known.end is not None or known.cell is None:
            return False
        known.joined = known.cell.join(known, sock)
        return known.joined

    def lose(self, execution: str, cause: str, *, over_limit: bool = False) -> None:
        """The pod of this execution is gone, and will not come again. Of one that has none it changes nothing."""
        known = self._executions.get(execution)
        if known is None or known.end is not None or not known.request.in_pod:
            return
        known.pod_gone = cause, over_limit
        if known.cell is not None and not known.cell.gone:
            known.cell.lose(known, cause, over_limit=over_limit)
        else:
            if known.preparing is not None:
                known.preparing.cancel()
            known.lost(cause, over_limit=over_limit)

    def waits(self, execution: str, reason: str) -> None:
        """Why the pod of this execution has not come yet."""
        known = self._executions.get(execution)
        if known is not None and known.request.in_pod and known.end is None and not known.joined:
            known.pod_waits = reason
            known.say(Waiting(reason))

    def _goes_on(self, execution: Execution) -> bool:
        """Whether it is resumed though its worker has died: it is in a pod, and not what all its workers die of."""
        if self._pods is None or not execution.request.in_pod:
            return False
        return not (execution.dead or execution.pod_gone is not None or execution.deaths >= MOST_DEATHS)

    def _going(self, *, in_pods: bool = False) -> list[Execution]:
        """Those that end with this process; also those that go on in pods, if that is asked for."""
        return [each for each in self._executions.values() if each.end is None and (in_pods or not each.request.in_pod)]

    async def _until_parted(self, seconds: float) -> None:
        """Until the workers have parted from the pods that go on."""
        cells = {each.cell for each in self._going(in_pods=True) if each.request.in_pod and each.cell is not None}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(cell.parted.wait() for cell in cells))
