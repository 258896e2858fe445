"""Which jobs wait for which approval, and for whom it would speak. Kept by `asking`, read by `approval_status`."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from curation.api.job import CurationJob
from curation.api.names import REQUESTER_ANNOTATIONS, ConditionType, Phase
from curation.lifecycle import conditions
from curation.reconciler.runtime.key import Key


@dataclass(slots=True)
class Waiting:
    """The jobs that wait for one approval, with what the gate last said about each."""

    requesters: dict[Key, frozenset[str]] = field(default_factory=dict)
    """By job: who is recorded to have created, changed or resumed it."""
    forbidden: dict[Key, str] = field(default_factory=dict)
    clashing: set[Key] = field(default_factory=set)
    """Jobs whose request is another one than the approval of that name records: they wait for it to go."""


class Waiters:
    """The jobs that wait for approvals, by both names; whatever changes wakes the approval, whose status shows it."""

    def __init__(self, wake: Callable[[Key], None]) -> None:
        """`wake` has a job or an approval worked on."""
        self._wake = wake
        self._waiting: dict[Key, Waiting] = {}  # by approval
        self._waits_for: dict[Key, Key] = {}  # by job
        self._places: dict[str, dict[Key, None]] = {}  # the jobs by namespace, in the order in which they came
        self._freed: set[Key] = set()  # approvals whose request a job was freed for since, by whatever allowed it

    def in_namespace(self, namespace: str | None) -> Iterator[Key]:
        """The jobs of a namespace that wait; None: of all. As of now: it may change while the caller goes on."""
        if namespace is None:
            return iter(list(self._waits_for))
        return iter(list(self._places.get(namespace, ())))

    def __contains__(self, job: object) -> bool:
        return job in self._waits_for

    def approval_of(self, job: Key) -> Key | None:
        """What the job waits for."""
        return self._waits_for.get(job)

    def of(self, approval: Key) -> Waiting | None:
        """The jobs that wait for an approval, if there are any."""
        waiting = self._waiting.get(approval)
        return waiting if waiting is not None and waiting.requesters else None

    def wake(self, approval: Key) -> None:
        """Decide the jobs that wait for this approval again."""
        waiting = self._waiting.get(approval)
        if waiting is not None:
            for job in (*waiting.requesters, *waiting.clashing):
                self._wake(job)

    def add(self, key: Key, job: CurationJob, approval: Key) -> bool:
        """Note that the job waits for this approval, and for no other; True if that is new."""
        known = self._waiting.setdefault(approval, Waiting())
        self._waits_for[key] = approval
        self._places.setdefault(key.namespace, {})[key] = None
        if key in known.clashing:
            return False
        before, requesters = known.requesters.get(key), requesters_of(job)
        if before != requesters:  # somebody may have changed the job while it waits
            known.requesters[key] = requesters
            self._wake(approval)
        if before is None:
            self._freed.discard(approval)
        return before is None

    def remove(self, job: Key) -> tuple[Key, bool] | None:
        """The job no longer waits: what it has waited for, and whether another job still does; None if for nothing."""
        approval = self._waits_for.pop(job, None)
        if approval is not None:
            place = self._places[job.namespace]
            del place[job]
            if not place:
                del self._places[job.namespace]
        if approval is None or approval not in self._waiting:
            return None
        waiting = self._waiting[approval]
        waiting.requesters.pop(job, None)
        waiting.forbidden.pop(job, None)
        waiting.clashing.discard(job)
        if waiting.requesters or waiting.clashing:
            return approval, True
        del self._waiting[approval]
        return approval, False

    def set_forbidden(self, approval: Key, job: Key, forbids: str) -> None:
        """Note what denies the job's request although it were approved; empty: nothing."""
        waiting = self._waiting.get(approval)
        if waiting is not None and waiting.forbidden.get(job, "") != forbids:
            waiting.forbidden[job] = forbids
            self._wake(approval)

    def set_clashing(self, approval: Key, key: Key, job: CurationJob, clashes: bool) -> bool:
        """Note whether the approval of that name records another request; True if it does and did not before."""
        waiting = self._waiting.setdefault(approval, Waiting())
        if clashes == (key in waiting.clashing):
            return False
        self._wake(approval)
        if not clashes:
            waiting.clashing.discard(key)
            waiting.requesters[key] = requesters_of(job)
            return False
        waiting.requesters.pop(key, None)
        waiting.forbidden.pop(key, None)
        waiting.clashing.add(key)
        return True

    def free(self, job: Key) -> None:
        """The request that the job waited for is allowed: an approval of it that nobody waits for is of no use."""
        approval = self._waits_for.get(job)
        if approval is not None:
            self._freed.add(approval)

    def is_freed(self, approval: Key) -> bool:
        """Whether the last jobs that waited for this approval were freed, and none has come to wait since."""
        return approval in self._freed

    def forget(self, approval: Key) -> None:
        """The approval is gone."""
        self._freed.discard(approval)


def observation_denied(job: CurationJob) -> bool:
    """Whether the last observation of the job's session was denied."""
    authorized = conditions.find(job.status.conditions, ConditionType.AUTHORIZED)
    running = job.status.phase is Phase.RUNNING and job.metadata.deletion_timestamp is None
    return running and authorized is not None and authorized.status == "False"


def requesters_of(job: CurationJob) -> frozenset[str]:
    """Who is recorded to have created, changed or resumed the job."""
    return frozenset(filter(None, map(job.metadata.annotations.get, REQUESTER_ANNOTATIONS)))
