"""What other reconcilers and a scrape ask about all jobs, kept up to date so that nobody goes through all of them."""

from typing import Annotated, Any, Final, NamedTuple, Self

import msgspec
from pydantic import BaseModel, Field, ValidationError

from curation.api.names import SESSION_FINALIZER, Phase
from curation.api.reading import Unreadable
from curation.cluster.answers import Document
from curation.cluster.cache import Stored
from curation.reconciler.runtime.metrics import Metrics

_IN_FLIGHT = frozenset({Phase.SUBMITTED.value, Phase.RUNNING.value, "Unreadable"})

_FINISHED = frozenset(phase.value for phase in Phase if phase.terminal)

_KNOWN = frozenset(phase.value for phase in Phase)
UNREADABLE_PHASE = "Unreadable"


class _JobMetadata(BaseModel):
    deletion_timestamp: Annotated[str | None, Field(alias="deletionTimestamp")] = None
    finalizers: list[str] = []


class _JobStatus(BaseModel):
    phase: Any = None
    abandoned_runs: Annotated[Any, Field(alias="abandonedRuns")] = None


class _Summary(BaseModel):
    """All that the index needs of a job. It holds whatever a release of ours, older or newer, has written."""

    metadata: _JobMetadata = _JobMetadata()
    status: _JobStatus = _JobStatus()


class _PlainMetadata(msgspec.Struct, rename="camel"):
    deletion_timestamp: str | None = None
    finalizers: list[str] = []


class _PlainStatus(msgspec.Struct, rename="camel"):
    phase: Any = None
    abandoned_runs: Any = None


class _Plain(msgspec.Struct):
    """The same of a job that is as its CRD says. msgspec reads it in a tenth of the time, at each version of each."""

    metadata: _PlainMetadata = msgspec.field(default_factory=_PlainMetadata)
    status: _PlainStatus = msgspec.field(default_factory=_PlainStatus)


_PLAIN: Final = msgspec.json.Decoder(_Plain)


class _Known(NamedTuple):
    phase: str
    """The phase; of another release, one word for all."""
    to_clean: int
    """How many runs its status names to be cleaned."""
    may_own_session: bool
    """See `may_own_session`."""

    @classmethod
    def of(cls, job: _Summary | _Plain) -> Self:
        """What counts of a job."""
        # Deleted, and its runs are cleaned or given up: only another's finalizer keeps it.
        released = job.metadata.deletion_timestamp is not None and SESSION_FINALIZER not in job.metadata.finalizers
        listed, phase = job.status.abandoned_runs, job.status.phase or Phase.QUEUED.value
        to_clean = len(listed) if isinstance(listed, list) and not released else 0
        if not isinstance(phase, str) or phase not in _KNOWN:
            phase = UNREADABLE_PHASE
        return cls(phase, to_clean, bool(to_clean) or (not released and phase in _IN_FLIGHT))


_UNREADABLE: Final = _Known.of(_Summary(status=_JobStatus(phase=UNREADABLE_PHASE)))


def _known(stored: Stored) -> _Known:
    try:
        if stored.fault is None:
            return _Known.of(_PLAIN.decode(stored.body))
    except (msgspec.MsgspecError, RecursionError):
        pass  # which may be what the other reader mends
    try:
        return _Known.of(stored.parse(_Summary))
    except Unreadable:
        return _UNREADABLE


def may_own_session(job: Document) -> bool:
    """Whether a job has a run or a session that may have to be cancelled."""
    try:
        return _Known.of(_Summary.model_validate(job)).may_own_session
    except ValidationError:
        return _UNREADABLE.may_own_session


class JobIndex:
    """Phases and abandoned runs of all jobs; keeps `curation_jobs` and `curation_abandoned_runs`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._known: dict[str, dict[str, _Known]] = {}
        self._owning: dict[str, int] = {}
        """By namespace: jobs that may own a session; none of it is zero."""

    def on_change(self, old: Stored | None, new: Stored | None) -> None:
        """Listener of the job cache."""
        known = new or old
        assert known is not None
        jobs = self._known.setdefault(known.namespace, {})
        before = jobs.pop(known.name, None)
        if before is not None:
            self._count(known.namespace, before, -1)
        if new is not None:
            jobs[known.name] = now = _known(new)
            self._count(known.namespace, now, 1)
        if not jobs:
            del self._known[known.namespace]

    def may_own_sessions(self, namespace: str) -> bool:
        """Whether a job of the namespace (empty: of any) has a run or a session that may have to be cancelled."""
        return namespace in self._owning if namespace else bool(self._owning)

    def has_finished(self, namespace: str, name: str) -> bool:
        """Whether this job is known, and is Completed or Failed."""
        known = self._known.get(namespace, {}).get(name)
        return known is not None and known.phase in _FINISHED

    def _count(self, namespace: str, job: _Known, sign: int) -> None:
        if job.may_own_session:
            owning = self._owning.pop(namespace, 0) + sign
            if owning:
                self._owning[namespace] = owning
        self._metrics.jobs.labels(phase=job.phase).inc(sign)
        if job.to_clean:
            self._metrics.abandoned_runs.inc(sign * job.to_clean)
