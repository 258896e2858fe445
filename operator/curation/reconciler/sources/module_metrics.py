"""How many modules are ready, as their statuses say: each replica counts all of them."""

from curation.api.module import CurationModule
from curation.api.reading import Unreadable
from curation.cluster.cache import Stored
from curation.lifecycle import conditions
from curation.reconciler.runtime.metrics import Metrics

_UNKNOWN = "Unknown"


class ModuleMetrics:
    """Keeps `curation_modules` as modules change."""

    def __init__(self, metrics: Metrics) -> None:
        self._gauge = metrics.modules
        self._ready: dict[str, str] = {}  # by uid
        for ready in ("True", "False", _UNKNOWN):
            self._gauge.labels(ready=ready)

    def on_change(self, old: Stored | None, new: Stored | None) -> None:
        """Listener of the module cache. The two may be of different uids: a module that was made anew."""
        if old is not None and (before := self._ready.pop(old.uid, None)) is not None:
            self._gauge.labels(ready=before).dec()
        if new is None:
            return
        try:
            module = new.parse(CurationModule)
        except Unreadable:
            return  # it counts as such
        found = conditions.find(module.status.conditions, "Ready")
        # A status is only a text for the API server: a label takes three values.
        ready = found.status if found is not None and found.status in ("True", "False") else _UNKNOWN
        self._ready[new.uid] = ready
        self._gauge.labels(ready=ready).inc()
