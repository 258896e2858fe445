"""Which executions an executor knows, and what follows from that alone: the same for every executor (see `seam`)."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from curation.execution.seam import (
    Ended,
    ExecutionObserver,
    ExecutionRequest,
    Held,
    Lost,
    Sink,
    Word,
    process_liveness,
)
from curation.lifecycle.outcome import Liveness

log = logging.getLogger(__name__)


class Known(Protocol):
    """An execution that was started, and is not settled."""

    sink: Sink

    @property
    def end(self) -> Ended | Lost | None:
        """What was said of its end; None while it goes on."""
        ...

    def say(self, word: Word) -> None:
        """Say it to whoever listens now."""
        ...


K = TypeVar("K", bound=Known)


class Ledger(ABC, Generic[K]):
    """The part of an executor whose executions end with this process."""

    def __init__(self, observer: ExecutionObserver | None) -> None:
        self._observer = observer
        self._executions: dict[str, K] = {}
        """That were started and are not settled."""
        self._stopped: dict[str, str] = {}
        """Why executions are not to begin that were not started yet."""

    @abstractmethod
    def _begin(self, request: ExecutionRequest, sink: Sink, why: str | None) -> None:
        """Start one that is not known; `why` it was stopped before that, if it was."""

    @abstractmethod
    def _kill(self, known: K, why: str) -> None:
        """Stop one that is known."""

    def start(self, request: ExecutionRequest, sink: Sink) -> None:
        """See `seam.Executor`."""
        if request.execution in self._executions:
            self.attach(request, sink)
        else:
            self._begin(request, sink, self._stopped.pop(request.execution, None))

    def attach(self, request: ExecutionRequest, sink: Sink) -> None:
        """See `seam.Executor`."""
        known = self._executions.get(request.execution)
        if known is None:
            sink(request.execution, Lost("this process does not execute it"))
            return
        known.sink = sink
        if known.end is not None:
            known.say(known.end)

    def stop(self, execution: str, why: str) -> None:
        """See `seam.Executor`."""
        known = self._executions.get(execution)
        if known is None:
            self._stopped[execution] = why
        else:
            self._kill(known, why)

    def settled(self, execution: str) -> None:
        """See `seam.Executor`."""
        self._stopped.pop(execution, None)
        known = self._executions.get(execution)
        if known is not None and known.end is not None:
            del self._executions[execution]
            self._forgotten(known)

    def liveness(self, held: Held) -> Liveness:
        """See `seam.Executor`. What another process executes is not known here."""
        known = self._executions.get(held.execution)
        if known is None:
            return process_liveness(held, Liveness.UNKNOWN)
        return Liveness.ALIVE if known.end is None else Liveness.GONE

    def notify(self, about: ExecutionRequest, what: Callable[[ExecutionObserver], None]) -> None:
        """Notifies the observer, whose failures are its own."""
        if self._observer is None:
            return
        try:
            what(self._observer)
        except Exception:
            log.exception("an observer of executions failed", extra=about.log_fields)

    def _forgotten(self, known: K) -> None:
        """It is settled."""
