"""What other reconcilers and a scrape ask about all jobs, kept as they change so that nobody looks at each of them."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from curation.api.names import Phase
from curation.cluster.cache import Stored
from curation.reconciler.metrics import Metrics

_IN_FLIGHT = frozenset({Phase.SUBMITTED.value, Phase.RUNNING.value})


class _Status(BaseModel):
    phase: str | None = None
    abandoned_runs: Annotated[list[Any], Field(alias="abandonedRuns")] = []


class _Glance(BaseModel):
    """All that the index needs of a job. It holds whatever a release of ours, older or newer, has written."""

    status: _Status = _Status()


class JobIndex:
    """Phases and abandoned runs of all jobs; keeps `curation_jobs` and `curation_abandoned_runs`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._known: dict[str, dict[str, tuple[str, int]]] = {}

    def seen(self, old: Stored | None, new: Stored | None) -> None:
        """Listener of the job cache."""
        known = new or old
        assert known is not None
        jobs = self._known.setdefault(known.namespace, {})
        before = jobs.pop(known.name, None)
        if before is not None:
            self._count(*before, -1)
        if new is not None:
            status = new.parse(_Glance).status
            now = (status.phase or Phase.QUEUED.value, len(status.abandoned_runs))
            jobs[known.name] = now
            self._count(*now, 1)
        if not jobs:
            del self._known[known.namespace]

    def may_own_sessions(self, namespace: str) -> bool:
        """Whether a job of the namespace (empty: of any) has a run or a session that may have to be cancelled."""
        places = [self._known.get(namespace, {})] if namespace else list(self._known.values())
        return any(phase in _IN_FLIGHT or abandoned for jobs in places for phase, abandoned in jobs.values())

    def _count(self, phase: str, abandoned: int, sign: int) -> None:
        self._metrics.jobs.labels(phase=phase).inc(sign)
        if abandoned:
            self._metrics.abandoned_runs.inc(sign * abandoned)
