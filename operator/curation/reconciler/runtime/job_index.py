"""What other reconcilers and a scrape ask about all jobs, kept up to date so that nobody goes through all of them."""

from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from curation.api.names import SESSION_FINALIZER, Phase
from curation.api.reading import Unreadable
from curation.cluster.answers import Document
from curation.cluster.cache import Stored
from curation.reconciler.runtime.metrics import Metrics

_IN_FLIGHT = frozenset({Phase.SUBMITTED.value, Phase.RUNNING.value, "Unreadable"})


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

    @property
    def released(self) -> bool:
        """It is deleted, and its runs are cleaned or given up: only another's finalizer keeps it."""
        return self.metadata.deletion_timestamp is not None and SESSION_FINALIZER not in self.metadata.finalizers

    @property
    def to_clean(self) -> int:
        """How many runs its status names to be cleaned."""
        listed = self.status.abandoned_runs
        return len(listed) if isinstance(listed, list) and not self.released else 0

    @property
    def phase(self) -> str:
        """The phase; of another release, one word for all."""
        phase = self.status.phase or Phase.QUEUED.value
        return phase if isinstance(phase, str) and phase in _KNOWN else UNREADABLE_PHASE

    @property
    def may_own_session(self) -> bool:
        """See `may_own_session`."""
        return bool(self.to_clean) or (not self.released and self.phase in _IN_FLIGHT)


def may_own_session(job: Document) -> bool:
    """Whether a job has a run or a session that may have to be cancelled."""
    try:
        return _Summary.model_validate(job).may_own_session
    except ValidationError:
        return _UNKNOWN.may_own_session


_UNKNOWN = _Summary(status=_JobStatus(phase=UNREADABLE_PHASE))


class _Known(NamedTuple):
    phase: str
    to_clean: int
    may_own_session: bool


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
            try:
                job = new.parse(_Summary)
            except Unreadable:
                job = _UNKNOWN
            jobs[known.name] = now = _Known(job.phase, job.to_clean, job.may_own_session)
            self._count(known.namespace, now, 1)
        if not jobs:
            del self._known[known.namespace]

    def may_own_sessions(self, namespace: str) -> bool:
        """Whether a job of the namespace (empty: of any) has a run or a session that may have to be cancelled."""
        return namespace in self._owning if namespace else bool(self._owning)

    def _count(self, namespace: str, job: _Known, sign: int) -> None:
        if job.may_own_session:
            owning = self._owning.pop(namespace, 0) + sign
            if owning:
                self._owning[namespace] = owning
        self._metrics.jobs.labels(phase=job.phase).inc(sign)
        if job.to_clean:
            self._metrics.abandoned_runs.inc(sign * job.to_clean)
