"""What the reconcilers of one process share."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from curation.api.job import CurationJob, JobStatus
from curation.api.names import EventReason
from curation.authz.register import PolicyRegister
from curation.cluster.answers import APIError, Document, Refused, Unreachable, WriteAnswer
from curation.cluster.api import ClusterAPI
from curation.cluster.cache import Cache, Stored
from curation.cluster.clock import ServerClock
from curation.cluster.events import EventRecorder
from curation.cluster.mergepatch import merge_patch
from curation.cluster.resources import APPROVALS, CLUSTER_POLICIES, JOBS, MODULES, POLICIES, ResourceKind
from curation.cluster.writer import Writer
from curation.lifecycle.event import Event
from curation.notifying.notice import Notice
from curation.notifying.notifier import Notifier
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.metrics import Metrics
from curation.reconciler.runtime.notices import job_finished
from curation.reconciler.runtime.queue import WorkQueue
from curation.reconciler.runtime.refusals import Refusals
from curation.reconciler.runtime.regarding import regarding_object
from curation.reconciler.runtime.settings import Settings
from curation.reconciler.runtime.verdicts import Verdicts
from curation.workers.account import MemoryAccount

log = logging.getLogger(__name__)

NO_PODS = (
    "spec.executor.type is Job, and this operator has no guest pods; set it to InProcess, or have the operator started "
    "with --guest-pods (docs/executors.md)."
)
DELETION = "its deletion"
"""See `Refusals`."""


@dataclass
class Context:
    """One process: its access to the cluster, its caches, its queue."""

    settings: Settings
    api: ClusterAPI
    writer: Writer
    clock: ServerClock
    metrics: Metrics
    events: EventRecorder
    book: PolicyRegister
    verdicts: Verdicts
    queue: WorkQueue[Key]
    notifier: Notifier | None = None
    """Where notices go; None: nobody is told."""
    memory: MemoryAccount = field(default_factory=MemoryAccount)
    """What workers may take of memory; by default without a bound."""
    pods_problem: Callable[[], str] = lambda: NO_PODS
    """Why no run can have a pod now, and what helps; empty if it can."""
    caches: dict[ResourceKind, Cache] = field(
        default_factory=lambda: {kind: Cache(kind) for kind in (JOBS, MODULES, POLICIES, CLUSTER_POLICIES, APPROVALS)}
    )

    def __post_init__(self) -> None:
        self.refusals = Refusals(self.record_event, self.metrics.refused_writes, self.clock.monotonic)

    def cache(self, key: Key) -> Cache:
        """The cache of the key's kind."""
        return self.caches[key.kind]

    def wake(self, key: Key) -> None:
        """Have it worked on: something that it depends on has changed. For listeners, and for what ends by itself.

        A reconcile asks for work on its own key by its `Result`.
        """
        self.queue.add(key)

    def wake_after(self, key: Key, seconds: float) -> None:
        """Have it worked on then; of several times the earliest counts."""
        self.queue.add_after(key, seconds)

    def retry(self, key: Key) -> None:
        """Have it worked on again, since what was begun for it outside a reconcile has failed."""
        self.queue.add_rate_limited(key)

    def record_event(self, regarding: Document, event: Event, log_fields: Mapping[str, object]) -> None:
        """Make an Event; should it not be taken, the log has it, with these fields."""
        self.events.record(
            regarding,
            event.reason.value,
            event.message,
            action=event.reason.value,
            type="Warning" if event.warning else "Normal",
            log_fields=log_fields,
            # Once for each run, and the only sign of a session that is left: the retries before it must not use it up.
            vital=event.reason is EventReason.CLEANUP_FAILED,
            gone=self._is_gone(regarding),
        )

    def _is_gone(self, regarding: Document) -> bool:
        """Whether it is of one of our kinds, and another object or none has its name."""
        metadata = regarding["metadata"]
        cache = next((each for kind, each in self.caches.items() if kind.kind == regarding["kind"]), None)
        if cache is None:
            return False
        stored = cache.get(metadata.get("namespace"), metadata["name"])
        return stored is None or stored.uid != metadata["uid"]

    def on_change(self, old: Stored | None, new: Stored | None) -> None:
        """Listener of each cache: of an object that is gone nothing is remembered for its next Event or write."""
        if old is not None and (new is None or new.uid != old.uid):
            self.events.forget(old.uid)
            self.writer.forget(old.uid)

    def tell(self, notice: Notice) -> None:
        """Have it told to whom the operator was started with, if to anybody."""
        if self.notifier is not None:
            self.notifier.tell(notice)

    def phase_changed(self, job: CurationJob, after: JobStatus) -> None:
        """Count a phase change that was written, and tell of a job that has finished; `job` is as it was before."""
        self.metrics.phase_changed(job, after)
        if self.notifier is not None and (notice := job_finished(job, after)) is not None:
            self.notifier.tell(notice)

    def refused(
        self,
        key: Key,
        what: str,
        refused: Refused,
        log_fields: Mapping[str, object] | None = None,
        about: Document | None = None,
    ) -> None:
        """Report that a write of this object was refused: once, for as long as it lasts; `about` another, if named."""
        stored = self.cache(key).get(key.namespace, key.name)
        if about is None and stored is not None:
            about = regarding_object(key, stored)
        self.refusals.report(key, about, what, refused, log_fields)

    async def delete(self, key: Key, stored: Stored) -> bool:
        """Delete exactly this version of an object. False if that is refused: then it is reported, and to be retried.

        Raises `APIError` and `Unreachable` where the server is in trouble.
        """
        version = str(stored.resource_version)
        try:
            await self.api.delete(key.kind, key.namespace or None, key.name, uid=stored.uid, resource_version=version)
        except APIError as error:
            refused = error.refusal
            if refused is None:
                raise
            self.refused(key, DELETION, refused)
            return False
        self.refusals.ended(key, DELETION)
        return True

    async def refresh(self, key: Key) -> bool:
        """Read an object anew after a write that did not land; False if the API server did not let us."""
        cache = self.cache(key)
        known = cache.get(key.namespace, key.name)
        try:
            found = await self.api.get(key.kind, key.namespace, key.name)
        except (APIError, Unreachable) as error:
            log.warning("%s could not be read anew: %s", key, error, extra=key.log_fields)
            return False
        if found is not None:
            cache.put(found)
        elif known is not None:
            cache.forget(key.namespace, key.name, known.uid)
        return True

    async def write_status(self, key: Key, resource_version: int, old: Document, new: Document) -> WriteAnswer | None:
        """Write the difference of two statuses, conditioned on the version that it was computed from.

        None when there is none. What the answer means is for `writes.settle` to say.
        """
        patch = merge_patch(old, new)
        if patch is None:
            return None
        return await self.patch_status(key, resource_version, patch)

    async def patch_status(self, key: Key, resource_version: int, patch: Document) -> WriteAnswer:
        """Change a status by a merge patch of it, conditioned on the version that it was computed from."""
        stored = self.cache(key).get(key.namespace, key.name)
        if stored is None or stored.resource_version != resource_version:
            # A newer one came in meanwhile. The server is to say what is newest.
            return await self._patch(key, resource_version, {"status": patch}, "status")
        return await self.writer.write_status(key.kind, stored, patch)

    async def write(self, key: Key, resource_version: int, body: Document) -> WriteAnswer:
        """A conditioned merge patch of what is not the status."""
        return await self._patch(key, resource_version, body, None)

    async def _patch(
        self, key: Key, resource_version: int, body: Document, subresource: Literal["status"] | None
    ) -> WriteAnswer:
        return await self.writer.patch(
            key.kind,
            key.namespace or None,
            key.name,
            resource_version=str(resource_version),
            body=body,
            subresource=subresource,
        )
