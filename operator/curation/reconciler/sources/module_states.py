"""What is known of each module, for whoever claims, executes or cancels a run; and which jobs wait for a change."""

from dataclasses import dataclass

from curation.api.module import CurationModule, ModuleLimits, ModuleSpec
from curation.api.reading import Unreadable
from curation.cluster.resources import MODULES
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.sources.module_sources import origin
from curation.wasm.limits import Limits
from curation.wasm.module_limits import limits_of


@dataclass(frozen=True, slots=True)
class ModuleState:
    """What is known of a module: its digest once it can be run, else why it cannot."""

    digest: str | None
    message: str
    spec: ModuleSpec | None = None
    build: str | None = None
    """The digest of what was loaded from this source, also once no run is claimed with it."""
    unusable: bool = False
    """Only another spec can help, none that its source may become."""


class ModuleStates:
    """Keeps the states of all modules. `modules` fills it."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._states: dict[tuple[str, str], ModuleState] = {}
        self._waiting: dict[tuple[str, str], set[Key]] = {}

    def state(self, namespace: str, name: str) -> ModuleState:
        """What is known of a module now."""
        if self._context.caches[MODULES].get(namespace, name) is None:
            return ModuleState(None, f"CurationModule {name} does not exist in namespace {namespace}; apply it.")
        found = self._states.get((namespace, name))
        return found or ModuleState(None, f"CurationModule {name} is being loaded.")

    def wake_when_changed(self, namespace: str, name: str, job: Key) -> None:
        """Ask for work on a job once the module's state changes."""
        self._waiting.setdefault((namespace, name), set()).add(job)

    def forget(self, job: Key) -> None:
        """The job is gone."""
        for place, jobs in tuple(self._waiting.items()):
            jobs.discard(job)
            if not jobs:
                del self._waiting[place]

    def wall_seconds(self, namespace: str, name: str) -> float:
        """How long a run of the module can take at the most; of one that is gone, what the default allows."""
        spec = self.state(namespace, name).spec
        return float((spec.limits if spec is not None else ModuleLimits()).wall_seconds)

    def limits(self, namespace: str, name: str) -> Limits:
        """What a run of the module may use; of one that is gone, what the default allows."""
        spec = self.state(namespace, name).spec
        return limits_of(spec.limits if spec is not None else ModuleLimits())

    def _mark_unreadable(self, key: Key, error: Unreadable) -> None:
        """No run is claimed with it; what was loaded before can still cancel."""
        place = (key.namespace, key.name)
        known = self._states.get(place)
        spec, build = (known.spec, known.build) if known is not None else (None, None)
        self._set(place, ModuleState(None, f"CurationModule {key.name} cannot be read: {error}", spec, build))

    def _mark_deleted(self, key: Key, module: CurationModule) -> None:
        """A deleted module counts for Cancel only: its spec stays known, but no run is claimed with it."""
        if module.metadata.deletion_timestamp is not None:
            place, spec = (key.namespace, key.name), module.spec
            known = self._states.get(place)
            same = known is not None and known.spec is not None and origin(known.spec) == origin(spec)
            build = known.build if known is not None and same else None
            self._set(place, ModuleState(None, f"CurationModule {key.name} is being deleted.", spec, build))

    def _set(self, place: tuple[str, str], state: ModuleState | None) -> None:
        before = self._states.get(place)
        if state is None:
            self._states.pop(place, None)
        else:
            self._states[place] = state
        if before != state:
            for job in self._waiting.pop(place, ()):
                self._context.wake(job)
