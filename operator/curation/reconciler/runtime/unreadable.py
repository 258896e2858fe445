"""Objects that this release cannot read: each is reported once, also in its conditions, and is not changed otherwise.

What must be done all the same (a deletion is let through, sessions are cancelled) is each reconciler's own.
"""

import logging
from typing import Any, Final

from curation.api.approval import CurationApproval
from curation.api.job import CurationJob
from curation.api.module import CurationModule
from curation.api.names import ConditionType, EventReason
from curation.api.policy import ClusterCurationPolicy, CurationPolicy
from curation.api.reading import Fault, Unreadable
from curation.api.remains import remains_of
from curation.api.schema import ResourceModel
from curation.cluster.answers import Document
from curation.cluster.cache import Stored
from curation.cluster.resources import APPROVALS, CLUSTER_POLICIES, JOBS, MODULES, POLICIES, ResourceKind
from curation.lifecycle.event import Event
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.regarding import regarding_object
from curation.reconciler.runtime.result import NOTHING, Result
from curation.reconciler.runtime.writes import settle

log = logging.getLogger(__name__)

MODELS: Final[dict[ResourceKind, type[ResourceModel]]] = {
    JOBS: CurationJob,
    MODULES: CurationModule,
    POLICIES: CurationPolicy,
    CLUSTER_POLICIES: ClusterCurationPolicy,
    APPROVALS: CurationApproval,
}
REASON: Final = EventReason.UNREADABLE.value


def job_of(stored: Stored) -> tuple[CurationJob, Fault | None]:
    """The job, or what is left of one that cannot be read and why it cannot."""
    try:
        return stored.parse(CurationJob), None
    except Unreadable as error:
        return remains_of(stored.document()), error.fault


class Unreadables:
    """Knows which objects cannot be read."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._reported: dict[Key, tuple[str, Fault]] = {}

    async def check(self, key: Key) -> Result:
        """Report the object if it cannot be read; forget the report once it can."""
        stored = self._context.cache(key).get(key.namespace, key.name)
        if stored is None:
            self._forget(key)
            return NOTHING
        try:
            stored.parse(MODELS[key.kind])
        except Unreadable as error:
            self._report(key, stored, error.fault)
            return await self._show(key, stored, error.fault)
        self._forget(key)
        return NOTHING

    def _report(self, key: Key, stored: Stored, fault: Fault) -> None:
        if self._reported.get(key) == (stored.uid, fault):
            return
        if key not in self._reported:
            self._context.metrics.unreadable.labels(kind=key.kind.kind).inc()
        self._reported[key] = (stored.uid, fault)
        why = f"This release cannot read the object and leaves it as it is: {fault}"
        log.error("%s: %s", key, why, extra=key.log_fields)
        event = Event(EventReason.UNREADABLE, why, warning=True)
        self._context.record_event(regarding_object(key, stored), event, key.log_fields)

    def _forget(self, key: Key) -> None:
        if self._reported.pop(key, None) is not None:
            self._context.metrics.unreadable.labels(kind=key.kind.kind).dec()

    async def _show(self, key: Key, stored: Stored, fault: Fault) -> Result:
        """Say it in the conditions, which follow from all else and so may be written whatever that is."""
        if stored.fault is not None:
            return NOTHING  # not even its conditions may be parsed
        document = stored.document()
        if "deletionTimestamp" in document["metadata"]:
            return NOTHING
        status = document.get("status")
        listed = status.get("conditions") if isinstance(status, dict) else None
        before = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
        after = self._conditions(key, stored, fault, before)
        if after == before:
            return NOTHING
        answer = await self._context.patch_status(key, stored.resource_version, {"conditions": after})
        outcome = await settle(self._context, key, answer, "its conditions", lambda newest: _has(newest, stored, after))
        return outcome.result

    def _conditions(self, key: Key, stored: Stored, fault: Fault, before: list[Document]) -> list[Document]:
        wanted = {ConditionType.READY: "False"}
        if key.kind is JOBS:
            wanted |= {ConditionType.RECONCILING: "False", ConditionType.STALLED: "True"}
        now = self._context.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        known = {entry.get("type"): entry for entry in before}
        made: dict[Any, Document] = {}
        for kind, status in wanted.items():
            new: Document = {
                "type": kind.value,
                "status": status,
                "observedGeneration": stored.generation,
                "lastTransitionTime": now,
                "reason": REASON,
                "message": str(fault)[:4096],
            }
            old = known.get(kind.value, {})
            same = all(old.get(name) == new[name] for name in ("status", "reason", "message", "observedGeneration"))
            made[kind.value] = old if same else new
        return [made.pop(entry.get("type"), entry) for entry in before] + list(made.values())


def _has(newest: Stored, written: Stored, conditions: list[Document]) -> bool:
    status = newest.document().get("status")
    return newest.uid == written.uid and isinstance(status, dict) and status.get("conditions") == conditions
