"""What one process knows of a job beside what the cluster says: one record for each object, dropped as a whole.

Nothing of it needs to survive a restart. The other files of this room read and write it; none keeps a job of its own.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from curation.api.approval import EvaluatedRequest
from curation.api.job import Observe
from curation.lifecycle.outcome import Calls, SessionRef, Trigger
from curation.reconciler.jobs.attempt import Attempt
from curation.reconciler.jobs.binding import AskedBinding
from curation.reconciler.jobs.completion import Pending
from curation.reconciler.jobs.orders import Order
from curation.reconciler.runtime.key import Key


@dataclass(slots=True)
class Cleaning:
    """How far the cleaning of one abandoned run has come in this process."""

    attempts: int = 0
    error: str = "no Cancel of it has ended"
    """Why it is not cleaned yet."""
    late: bool = False
    """This process came to it when its time was over already."""
    begun: datetime | None = None
    """When it was first tried here; a Cancel that waits for its turn has not been."""
    failing_since: datetime | None = None
    cancelled: bool = False
    """A Cancel has succeeded, and is to be repeated."""
    next_at: datetime | None = None
    task: asyncio.Task[None] | None = None
    session: SessionRef | None = None
    """The session that a dropped completion named."""
    done: bool = False


@dataclass(slots=True)
class ObservationPlan:
    """The next observation of a session. Times are of the monotonic clock."""

    run_id: str
    due: float
    interval: float
    """In seconds, from the last one."""
    observe: Observe
    """What the job said when it was planned."""
    changed: float
    """When something has last changed, or was asked for."""
    failures: int = 0
    asked: str = ""
    """The value of curation.dev/observe-requested-at that was last honoured."""
    denied: EvaluatedRequest | None = None
    """The request for which the last observation was denied."""
    revision: int = 0
    """Of the policies when the last observation began."""
    seen: int | None = None
    """A hash of the last progress."""


@dataclass(frozen=True, slots=True)
class ForeignRun:
    """A run of another process, and since when it has not changed, by our own monotonic clock."""

    run_id: str
    version: str
    since: float


@dataclass(slots=True)
class JobMemory:
    """One object. Its record goes once the object is gone and nothing of it is under way here any more."""

    key: Key
    uid: str
    attempts: set[Attempt] = field(default_factory=set)
    """Executions that have not ended, from before their claim on; and Cancels."""
    inbox: list[Pending] = field(default_factory=list)
    """What has ended and is still to be settled, in the order in which it ended."""
    bindings: list[AskedBinding] = field(default_factory=list)
    """Pods that ask to speak for its run."""
    calls: dict[str, Calls] = field(default_factory=dict)
    """Of Submit runs that ended here, until they need no cleaning; without it a run is cleaned twice, which is safe."""
    cleaning: dict[str, Cleaning] = field(default_factory=dict)
    """By run id."""
    plan: ObservationPlan | None = None
    asked_before: str | None = None
    """The value of curation.dev/observe-requested-at when its run was launched, until the first plan."""
    freed_for: str = ""
    """The digest of the request that it was last freed for."""
    foreign: ForeignRun | None = None

    def lives(self, run_id: str) -> bool:
        """Whether a Submit execution of this run is alive here, or its completion is still to be settled."""
        return any(order.trigger is Trigger.SUBMIT and order.run.id == run_id for order in self._orders())

    @property
    def observing(self) -> bool:
        """Whether an observation is under way, or its completion is still to be settled."""
        return any(order.trigger is Trigger.OBSERVE for order in self._orders())

    @property
    def submits(self) -> int:
        """Submit executions and completions that are under way; not those in pods, which outlive this process."""
        going = (each.order for each in self.attempts if not each.order.in_pod)
        ended = (each.order for each in self.inbox)
        return sum(order.trigger is Trigger.SUBMIT for orders in (going, ended) for order in orders)

    def waits(self, run_id: str) -> str:
        """Why the Submit execution of this run, in a pod, has not begun, if it says so."""
        going = (each for each in self.attempts if each.order.in_pod and each.order.run.id == run_id)
        return next((each.waits for each in going), "")

    def _orders(self) -> Iterator[Order]:
        """Of all that is under way here, or still to be settled."""
        return (each.order for under_way in (self.attempts, self.inbox) for each in under_way)

    def finish(self) -> None:
        """The job has finished: what was kept for its next step goes."""
        self.asked_before, self.freed_for = None, ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing is remembered, as of a job that has finished."""
        left = (
            self.attempts,
            self.inbox,
            self.bindings,
            self.calls,
            self.cleaning,
            self.plan,
            self.freed_for,
            self.foreign,
        )
        return not any(left) and self.asked_before is None

    @property
    def is_busy(self) -> bool:
        """Whether anything of it is under way in this process."""
        return bool(self.attempts or self.inbox or self.bindings) or any(
            each.task is not None for each in self.cleaning.values()
        )


class Memories:
    """The records of all jobs that this process has something to remember of."""

    def __init__(self) -> None:
        self._records: dict[Key, dict[str, JobMemory]] = {}
        """By name, then by uid: an object that was made anew under its name is another one."""

    def __iter__(self) -> Iterator[JobMemory]:
        return iter([memory for records in self._records.values() for memory in records.values()])

    def of(self, key: Key, uid: str) -> JobMemory:
        """The record of this object; a new one if nothing is remembered."""
        records = self._records.setdefault(key, {})
        if uid not in records:
            records[uid] = JobMemory(key, uid)
        return records[uid]

    def look(self, key: Key, uid: str) -> JobMemory:
        """What is remembered of this object, to be read only."""
        return self._records.get(key, {}).get(uid) or JobMemory(key, uid)

    def at(self, key: Key) -> list[JobMemory]:
        """The records of the object of this name, and of earlier ones of which something is still under way."""
        return list(self._records.get(key, {}).values())

    def tidy(self, key: Key, uid: str) -> None:
        """Drop the record of this object if nothing is in it: of one that is gone nobody asks again."""
        records = self._records.get(key, {})
        if uid in records and records[uid].is_empty:
            del records[uid]
        if not records:
            self._records.pop(key, None)

    def forget(self, key: Key, present: str | None) -> None:
        """Drop the records of this name but that of the present object, and that one too if nothing is in it.

        What is still under way keeps its own until it has ended and the key is worked on again, which its end asks for.
        """
        records = self._records.get(key, {})
        for memory in tuple(records.values()):
            if memory.is_empty or (memory.uid != present and not memory.is_busy):
                del records[memory.uid]
        if not records:
            self._records.pop(key, None)
