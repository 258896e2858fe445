"""The memory that workers may take: what has no room waits, so that none is found to be short of it.

An execution is admitted with all that it may take: its module's linear memory, what it holds of answers, its compiled
module (counted once in a namespace), and a worker, if its namespace has none. Each namespace has at most a quarter of
the whole, and never more than stays free beside it, so that one that comes later finds some. Observations and Cancels
have parts of their own, and one of each may always go on: no flood of runs keeps a session from being cancelled.

Pure: no clock, no I/O. Whoever waits is called, in turn between namespaces; what becomes free is kept for it until it
takes it, or leaves.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from curation.api.names import Trigger
from curation.turns import Rotation
from curation.workers.need import WORKER_BYTES, WORKER_DATA_BYTES, Need, whole_mib

QUARTER: Final = 4
_EIGHTHS: Final = {Trigger.SUBMIT: 6, Trigger.OBSERVE: 7, Trigger.CANCEL: 8}
"""How many eighths of the whole may be taken when one of these is admitted: the rest is for those that come after."""
_FIRST: Final = (Trigger.CANCEL, Trigger.OBSERVE, Trigger.SUBMIT)


@dataclass(slots=True)
class _Ask:
    namespace: str
    trigger: Trigger
    need: Need
    call: Callable[[], None]
    why: str = ""
    taken: bool = False
    """Of one that is admitted: whether it knows."""


@dataclass(slots=True)
class _Cell:
    runs: Counter[Trigger] = field(default_factory=Counter)
    run_bytes: int = 0
    artifacts: dict[str, int] = field(default_factory=dict)
    uses: Counter[str] = field(default_factory=Counter)
    workers: int = 0
    counted: int = 0
    """What the whole has of it."""

    @property
    def total(self) -> int:
        workers = max(self.workers, 1 if self.runs.total() else 0)
        return workers * WORKER_BYTES + self.run_bytes + sum(self.artifacts.values())

    def cost(self, need: Need) -> int:
        """What one more takes."""
        worker = 0 if self.workers or self.runs.total() else WORKER_BYTES
        return need.run_bytes + worker + (0 if need.digest in self.artifacts else need.artifact_bytes)


class MemoryAccount:
    """What is admitted, and who waits; each has a ticket, the id of its execution."""

    def __init__(self, limit: int | None = None, *, known: bool = True) -> None:
        """`limit`: bytes that all workers may take together; None: it is not bounded. Not `known`: all wait for it."""
        self.limit = limit
        self.known = known
        self.end_idle: Callable[[str], bool] = lambda _: False
        """Asked to end the worker of a namespace that executes nothing, for its memory; whether that is done."""
        self.on_limit: Callable[[], None] = lambda: None
        """Called when there is another limit."""
        self._admitted: dict[str, _Ask] = {}
        self._waiting: dict[str, _Ask] = {}
        self._lines: dict[Trigger, Rotation[str]] = {trigger: Rotation() for trigger in _FIRST}
        self._cells: dict[str, _Cell] = {}
        self._idle: dict[str, bool] = {}
        """Namespaces whose worker executes nothing, those that do so longest first; True: it is being ended."""
        self._runs: Counter[Trigger] = Counter()
        self.used = 0
        """Bytes that are admitted, workers included."""
        self._serving = False

    # -- what is known of it -----------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """How many executions wait for memory."""
        return len(self._waiting)

    @property
    def quarter(self) -> int | None:
        """What one namespace may take for its Submit runs; None: it is not bounded."""
        return self.limit // QUARTER if self.limit is not None else None

    @property
    def data_bytes(self) -> int | None:
        """RLIMIT_DATA of a worker: twice what a namespace may take with its observations and Cancels."""
        return None if self.limit is None else 2 * self._cell_limit(Trigger.CANCEL) + WORKER_DATA_BYTES

    def never_fits(self, need: Need) -> bool:
        """Whether no namespace may ever have so much."""
        return self.quarter is not None and need.alone > self.quarter

    def why(self, ticket: str) -> str:
        """What it waits for, in a sentence; empty if it does not wait."""
        ask = self._waiting.get(ticket)
        return ask.why if ask is not None else ""

    # -- who wants some ----------------------------------------------------------------------------------------------

    def take(self, ticket: str, namespace: str, trigger: Trigger, need: Need, call: Callable[[], None]) -> bool:
        """Have what it needs until `release`; False if there is no room: then it waits, and is called."""
        held = self._admitted.get(ticket)
        if held is not None:
            held.taken = True
            self._amend(held, need)
            return True
        ask = _Ask(namespace, trigger, need, call)
        line = self._lines[trigger]
        # Who comes when others of its namespace wait does not overtake them.
        if ticket not in self._waiting and not line.count(namespace) and self._fits(ask):
            ask.taken = True
            self._admit(ticket, ask)
            return True
        if ticket not in self._waiting:
            ask.why = self._why(ask)
            self._waiting[ticket] = ask
            line.add(namespace, ticket)
            self._serve()  # idle workers may be in its way
            return self._called(ticket)
        self._waiting[ticket].call = call
        return False

    def leave(self, ticket: str) -> None:
        """It does not wait any more, nor takes what is kept for it."""
        ask = self._waiting.pop(ticket, None)
        if ask is not None:
            self._lines[ask.trigger].discard(ask.namespace, ticket)
        else:
            self.decline(ticket)

    def decline(self, ticket: str) -> None:
        """It does not take what is kept for it, if anything is; who is not called yet goes on waiting."""
        ask = self._admitted.get(ticket)
        if ask is not None and not ask.taken:
            self.release(ticket)

    def release(self, ticket: str) -> None:
        """Give back what it has, if it has anything."""
        ask = self._admitted.pop(ticket, None)
        if ask is None:
            return
        cell, digest = self._cells[ask.namespace], ask.need.digest
        cell.runs -= Counter([ask.trigger])  # drops one at zero
        self._runs -= Counter([ask.trigger])
        cell.run_bytes -= ask.need.run_bytes
        if digest:
            cell.uses -= Counter([digest])
            if not cell.uses[digest]:
                cell.artifacts.pop(digest, None)
        self._tidy(ask.namespace)
        self._serve()

    # -- what it has to be told --------------------------------------------------------------------------------------

    def set_limit(self, limit: int | None) -> None:
        """It is known now, or another one; what is admitted stays so."""
        if self.known and limit == self.limit:
            return
        self.limit, self.known = limit, True
        self._serve()
        self.on_limit()

    def look_again(self) -> None:
        """A worker may have become idle that `end_idle` could not end before."""
        if self._waiting:
            self._serve()

    def worker_started(self, namespace: str) -> None:
        """A worker of this namespace was started."""
        self._cells.setdefault(namespace, _Cell()).workers += 1
        self._tidy(namespace)

    def worker_ended(self, namespace: str) -> None:
        """One has ended."""
        cell = self._cells.get(namespace)
        if cell is not None and cell.workers:
            cell.workers -= 1
            self._tidy(namespace)
            self._serve()

    # -- room --------------------------------------------------------------------------------------------------------

    def _cell_limit(self, trigger: Trigger) -> int:
        """What a namespace may have when one of these is admitted."""
        assert self.limit is not None
        return self.limit // QUARTER + (_EIGHTHS[trigger] - _EIGHTHS[Trigger.SUBMIT]) * self.limit // 16

    def _fits_cell(self, ask: _Ask) -> bool:
        cell = self._cells.get(ask.namespace) or _Cell()
        # One of each may always go on, as one that was admitted under another limit must.
        return not cell.runs[ask.trigger] or cell.total + cell.cost(ask.need) <= self._cell_limit(ask.trigger)

    def _shortage(self, ask: _Ask) -> int:
        """How many bytes it lacks of the whole; 0 if it has room."""
        assert self.limit is not None
        if ask.trigger is not Trigger.SUBMIT and not self._runs[ask.trigger]:
            return 0
        cell = self._cells.get(ask.namespace) or _Cell()
        cost, most = cell.cost(ask.need), _EIGHTHS[ask.trigger] * self.limit // 8
        after = self.used + cost
        # As much as stays free, for one that has some (a dynamic threshold: see `turns.Turns`).
        share = cell.total + cost if cell.runs[ask.trigger] and ask.trigger is not Trigger.CANCEL else 0
        return max(0, after + share - most)

    def _fits(self, ask: _Ask) -> bool:
        if not self.known:
            return False
        return self.limit is None or (self._fits_cell(ask) and not self._shortage(ask))

    def _why(self, ask: _Ask) -> str:
        if not self.known:
            return "The workers' container has not said yet how much memory it has."
        if self.limit is None or self._fits_cell(ask):
            whose, what = "other runs have", f"all there is of it ({whole_mib(self.limit or 0)})"
        else:
            whose, what = "the runs of its namespace have", f"what one may take ({whole_mib(self.quarter or 0)})"
        takes = f"The run takes {whole_mib(ask.need.run_bytes)} of the workers' memory"
        return f"{takes}, and {whose} {what}: it waits for them."

    # -- admission ---------------------------------------------------------------------------------------------------

    def _admit(self, ticket: str, ask: _Ask) -> None:
        self._admitted[ticket] = ask
        cell, need = self._cells.setdefault(ask.namespace, _Cell()), ask.need
        cell.runs[ask.trigger] += 1
        self._runs[ask.trigger] += 1
        cell.run_bytes += need.run_bytes
        if need.digest:
            cell.uses[need.digest] += 1
            cell.artifacts[need.digest] = max(need.artifact_bytes, cell.artifacts.get(need.digest, 0))
        self._tidy(ask.namespace)

    def _amend(self, held: _Ask, need: Need) -> None:
        """The size of its artifact was not known when it was admitted."""
        artifacts = self._cells[held.namespace].artifacts
        if need.digest in artifacts and need.digest == held.need.digest:
            artifacts[need.digest] = max(need.artifact_bytes, artifacts[need.digest])
            self._tidy(held.namespace)

    def _serve(self) -> None:
        """Admit those that wait, as far as there is room."""
        if self._serving:
            return  # whoever is called may give it back at once
        self._serving = True
        try:
            for trigger in _FIRST:
                for ticket in self._next(trigger):
                    ask = self._waiting.pop(ticket)
                    self._admit(ticket, ask)
                    ask.call()
            self._make_room()
        finally:
            self._serving = False

    def _next(self, trigger: Trigger) -> Iterator[str]:
        line = self._lines[trigger]
        while not self._full(trigger) and (found := line.pop(lambda name: self._fits(self._waiting[line.head(name)]))):
            yield found[1]

    def _full(self, trigger: Trigger) -> bool:
        """Whether nobody in this line need be asked."""
        if not self.known:
            return True
        always = trigger is not Trigger.SUBMIT and not self._runs[trigger]
        return self.limit is not None and not always and self.used >= _EIGHTHS[trigger] * self.limit // 8

    def _make_room(self) -> None:
        """End workers that execute nothing, for those that wait for no other reason than theirs."""
        if self.limit is None or not self._waiting or not self._idle:
            return
        heads = [self._waiting[ticket] for line in self._lines.values() for ticket in line.heads()]
        shortage = min((self._shortage(ask) for ask in heads if self._fits_cell(ask)), default=0)
        waiting = {ask.namespace for ask in heads}
        freed = sum(self._idle.values()) * WORKER_BYTES
        for namespace, ending in tuple(self._idle.items()):
            if freed >= shortage:
                break
            if not ending and namespace not in waiting and self.end_idle(namespace):
                self._idle[namespace] = True
                freed += WORKER_BYTES

    def _called(self, ticket: str) -> bool:
        ask = self._admitted.get(ticket)
        if ask is not None:
            ask.taken = True
        return ask is not None

    def _tidy(self, namespace: str) -> None:
        """Count what it has now, and note whether its worker executes nothing."""
        cell = self._cells[namespace]
        self.used += cell.total - cell.counted
        cell.counted = cell.total
        if cell.runs.total() or not cell.workers:
            self._idle.pop(namespace, None)
        else:
            self._idle.setdefault(namespace, False)
        if not cell.runs.total() and not cell.workers:
            del self._cells[namespace]
