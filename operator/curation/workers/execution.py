"""One execution as the operator has it: what was asked for, what was heard of it, and its end."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from curation.execution.seam import Answered, CallEnd, Ended, ExecutionRequest, Left, Lost, Sink, Waiting, Word
from curation.lifecycle.outcome import Calls, Failed, FailureClass, Report, Result

if TYPE_CHECKING:
    import asyncio

    from curation.workers.cell import Cell


class Execution:
    """It was started, and is not settled."""

    sink: Sink
    end: Ended | Lost | None

    def __init__(
        self,
        request: ExecutionRequest,
        sink: Sink,
        on_end: Callable[["Execution", Ended | Lost], None],
        started_at: float,
    ) -> None:
        self.request = request
        self.sink = sink
        self.dead = ""
        """Why nothing of it counts any more."""
        self.slot: int | None = None
        self.cell: Cell | None = None
        self.joined = False
        """Whether its pod has come."""
        self.pod_waits = ""
        """Why its pod has not come yet, as far as that is known."""
        self.pod_gone: tuple[str, bool] | None = None
        """Why its pod does not come again, if that is so, and whether for a limit."""
        self.preparing: asyncio.Task[None] | None = None
        self.end = None
        self.started_at = started_at
        self.adopted = request.resumed
        """Whether another process has started it."""
        self.deaths = 0
        """How many workers of it have died while its pod went on."""
        self._on_end = on_end
        self._left: set[int] = set()
        self._open: dict[int, tuple[Left, float]] = {}
        """Calls that have left and of whose end nothing was heard, and when they left."""
        self._answered: set[int] = set()

    @property
    def id(self) -> str:
        """See `ExecutionRequest.execution`."""
        return self.request.execution

    @property
    def calls(self) -> Calls | None:
        """What is known of its calls: all that has left, since that is heard before it does.

        None of one that another process has started: that may have let some leave.
        """
        if self.adopted:
            return None
        left = len(self._left | self._answered)
        return Calls(left=left, answered=len(self._answered), allowed=left)

    def ended_call(self, number: int) -> None:
        """Its worker says how this call ended."""
        self._open.pop(number, None)

    def lost_calls(self, now: float) -> list[CallEnd]:
        """Those that have left, and how they ended nobody will say."""
        opened, self._open = self._open, {}
        return [
            CallEnd(word.number, "allowed", "lost", now - since, word.method, word.url, word.policies)
            for word, since in opened.values()
        ]

    def hear(self, word: Word, now: float = 0.0) -> None:
        """What its worker says of it. Late, doubled and reordered words are harmless."""
        if self.end is not None:
            return
        match word:
            case Ended(report):
                self._finish(Ended(replace(report, calls=self._all(report.calls))))
            case Lost(calls=calls):
                self._finish(replace(word, calls=self._all(calls)) if calls is not None else word)
            case Left(number):
                self._left.add(number)
                self._open[number] = word, now
                self.say(word)
            case Answered(number):
                self._answered.add(number)
                self.say(word)
            case Waiting(reason):
                # Its worker knows that it waits for its pod; whoever keeps pods may have said why, meanwhile.
                self.say(Waiting(self.pod_waits) if reason and self.pod_waits else word)
            case _:
                pass  # it was accepted by this process

    def resume(self) -> None:
        """Its worker has died, and its pod goes on: another worker is to go on with it."""
        self.request = replace(self.request, resumed=True)
        self.deaths += 1
        self.joined = False
        self.cell = self.slot = None

    def finish(self, result: Result) -> None:
        """It ends here: nothing of it was executed by this process."""
        if self.request.resumed:
            self.lost(result.message if isinstance(result, Failed) else str(result))
            return
        self.hear(Ended(Report(self.request.trigger, self.request.run, result, dead=bool(self.dead))))

    def interrupted(self) -> None:
        """It is stopped, and its worker was not told of it."""
        self.finish(Failed(FailureClass.TIMEOUT, f"the module was interrupted: its run is over ({self.dead})"))

    def lost(self, cause: str, *, over_limit: bool = False) -> None:
        """Its worker has ended."""
        self.hear(Lost(cause, self.calls, over_limit))

    def say(self, word: Word) -> None:
        """Say it to whoever listens now."""
        self.sink(self.id, word)

    def _all(self, calls: Calls) -> Calls:
        """Its calls as its worker counts them, who does not know what was answered to the one before."""
        if not self.deaths or self.adopted:
            return calls
        left = max(calls.left, len(self._left | self._answered))
        return replace(calls, left=left, answered=len(self._answered), allowed=max(calls.allowed, left))

    def _finish(self, word: Ended | Lost) -> None:
        self.end = word
        self._on_end(self, word)
        self.say(word)
