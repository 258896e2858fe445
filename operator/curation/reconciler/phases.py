"""Counts the jobs by phase as they change, so that a scrape need not look at all of them."""

import json

from curation.api.names import Phase
from curation.cluster.cache import Stored
from curation.reconciler.metrics import Metrics


class PhaseCounts:
    """Keeps `curation_jobs` and `curation_abandoned_runs`."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._known: dict[tuple[str, str], tuple[str, int]] = {}

    def seen(self, old: Stored | None, new: Stored | None) -> None:
        """Listener of the job cache."""
        known = new or old
        assert known is not None
        place = (known.namespace, known.name)
        before = self._known.pop(place, None)
        if before is not None:
            self._count(*before, -1)
        if new is not None:
            status = json.loads(new.body).get("status") or {}
            now = (str(status.get("phase") or Phase.QUEUED), len(status.get("abandonedRuns") or ()))
            self._known[place] = now
            self._count(*now, 1)

    def _count(self, phase: str, abandoned: int, sign: int) -> None:
        self._metrics.jobs.labels(phase=phase).inc(sign)
        if abandoned:
            self._metrics.abandoned_runs.inc(sign * abandoned)
