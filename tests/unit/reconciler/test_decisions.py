"""When a grant ends by default, when what has ended is removed, and what an earlier release had decided."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from curation.api.approval import CurationApproval, request_digest
from curation.api.reading import read
from curation.cluster.answers import Document, Written
from curation.cluster.resources import APPROVALS
from curation.reconciler.approvals.approval_status import ApprovalReconciler
from curation.reconciler.approvals.asking import Approvals
from curation.reconciler.approvals.grant_texts import GrantTexts
from curation.reconciler.approvals.grants import Grants
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import carry_out
from tests.unit.lifecycle.builders import request
from tests.unit.reconciler.disconnected import NAMESPACE, Rig, disconnected, text_here
from tests.unit.reconciler.virtual_time import in_virtual_time

PLACE = Key(APPROVALS, NAMESPACE, "m-1")
DAY = 86400.0


def approval(version: int, generation: int, status: Document | None = None, **spec: Any) -> Document:
    asked = {"request": request().to_wire(), "requestDigest": request_digest(request()), "scope": "Host"}
    metadata = {
        "name": PLACE.name,
        "namespace": NAMESPACE,
        "uid": "u",
        "resourceVersion": str(version),
        "generation": generation,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return {"metadata": metadata, "spec": {**asked, **spec}, "status": status or {}}


class Kept:
    """An approval whose statuses are written into the cache, and whose deletion is noted."""

    def __init__(self, rig: Rig, **settings: Any) -> None:
        context = self.context = rig.context
        context.settings = replace(context.settings, **settings)
        self.grants = Grants(context, JobIndex(context.metrics))
        context.caches[APPROVALS].listen(self.grants.on_change)
        self._statuses = ApprovalReconciler(
            context, Approvals(context, self.grants), self.grants, GrantTexts(text_here)
        )
        self.deleted = False
        self._version = 100

        async def write(key: Key, version: int, old: Document, new: Document) -> Written | None:
            if old == new:
                return None
            stored = context.caches[APPROVALS].get(key.namespace, key.name)
            assert stored is not None
            found = stored.parse(CurationApproval)
            document = approval(self._next(), found.metadata.generation, new, **_spec(found))
            context.caches[APPROVALS].put(document)
            return Written(document)

        async def delete(*_: object) -> bool:
            self.deleted = True
            return False

        context.write_status = write  # type: ignore[method-assign,assignment]
        context.delete = delete  # type: ignore[method-assign,assignment]

    def _next(self) -> int:
        self._version += 1
        return self._version

    async def put(self, generation: int, status: Document | None = None, **spec: Any) -> CurationApproval:
        """A version of the approval that comes by the watch, and is reconciled."""
        self.context.caches[APPROVALS].put(approval(self._next(), generation, status, **spec))
        return await self.reconciled()

    async def reconciled(self) -> CurationApproval:
        """The approval after its status was written."""
        carry_out(self.context, PLACE, await self._statuses.reconcile(PLACE))
        stored = self.context.caches[APPROVALS].get(NAMESPACE, PLACE.name)
        assert stored is not None
        return stored.parse(CurationApproval)


def _spec(found: CurationApproval) -> Document:
    wire = read(CurationApproval, {"metadata": {}, "spec": found.spec.to_wire()}).spec.to_wire()
    return {key: value for key, value in wire.items() if key not in ("request", "requestDigest")}


def reason(found: CurationApproval) -> str:
    return next(each.reason for each in found.status.conditions if each.type == "Ready")


def expiring(found: CurationApproval) -> bool:
    return any(each.type == "Expiring" and each.status == "True" for each in found.status.conditions)


def decisions(found: CurationApproval) -> list[str]:
    return [f"{each.decision} {each.by}: {each.comment}" for each in found.status.decisions]


@in_virtual_time
async def test_a_grant_ends_by_default_is_announced_before_and_removed_after_a_time(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        kept = Kept(rig)
        approved = await kept.put(2, decision="Approved", decidedBy="ann", comment="For now.")
        status = approved.status
        assert status.decided_at is not None
        assert status.expires_at == status.decided_at + timedelta(days=30)
        assert (reason(approved), expiring(approved)) == ("Approved", False)
        await asyncio.sleep(29.5 * DAY)
        # Another --approval-ttl changes nothing that was decided.
        kept.context.settings = replace(kept.context.settings, approval_ttl=timedelta(days=90))
        warned = await kept.reconciled()
        assert (reason(warned), expiring(warned)) == ("Approved", True)
        await asyncio.sleep(1 * DAY)
        ended = await kept.reconciled()
        assert (reason(ended), expiring(ended)) == ("Expired", False)
        assert kept.grants.of(ended) is None
        await asyncio.sleep(28 * DAY)
        await kept.reconciled()
        assert not kept.deleted
        await asyncio.sleep(2 * DAY)
        await kept.reconciled()
        assert kept.deleted
        sample = rig.context.metrics.registry.get_sample_value
        assert sample("curation_approvals_expired_total", {"scope": "Host"}) == 1


@in_virtual_time
async def test_a_decision_may_say_another_end_or_none(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        kept = Kept(rig)
        never = await kept.put(2, decision="Approved", neverExpires=True)
        assert never.status.expires_at is None
        await asyncio.sleep(60 * DAY)
        assert reason(await kept.reconciled()) == "Approved"
    async with disconnected(tmp_path) as rig:
        said = await Kept(rig).put(2, decision="Approved", expiresAt="2026-03-01T00:00:00Z")
        assert said.status.expires_at == said.spec.expires_at
    async with disconnected(tmp_path) as rig:
        assert (await Kept(rig, approval_ttl=None).put(2, decision="Approved")).status.expires_at is None


@in_virtual_time
async def test_a_denial_stands_and_is_not_removed_unless_it_has_an_end(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        kept = Kept(rig)
        denied = await kept.put(2, decision="Denied", decidedBy="ann")
        assert not kept.grants.expired(denied)
        await asyncio.sleep(60 * DAY)
        assert reason(await kept.reconciled()) == "Denied"
        assert not kept.deleted
    async with disconnected(tmp_path) as rig:
        kept = Kept(rig)
        await kept.put(2, decision="Denied", decidedBy="ann", expiresAt="2026-01-02T00:00:00Z")
        await asyncio.sleep(2 * DAY)
        ended = await kept.reconciled()
        assert reason(ended) == "Expired"
        assert kept.grants.expired(ended)
        await asyncio.sleep(30 * DAY)
        await kept.reconciled()
        assert kept.deleted


@in_virtual_time
async def test_what_an_earlier_release_had_approved_without_end_has_none(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        kept = Kept(rig)
        ready = {
            "type": "Ready",
            "status": "True",
            "reason": "Approved",
            "message": "",
            "lastTransitionTime": "2025-06-01T00:00:00Z",
            "observedGeneration": 2,
        }
        old = {"observedGeneration": 2, "approvedBy": "ann", "conditions": [ready]}
        first = await kept.put(2, old, decision="Approved", decidedBy="ann")
        assert decisions(first) == ["Approved ann: None"]
        for _ in range(2):
            await asyncio.sleep(20 * DAY)
            again = await kept.reconciled()
            assert (reason(again), again.status.expires_at) == ("Approved", None)


@in_virtual_time
async def test_a_revocation_hides_nobody_who_approved_however_fast_it_comes(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        kept = Kept(rig)
        cache = rig.context.caches[APPROVALS]
        cache.put(approval(7, 2, decision="Approved", decidedBy="ann", comment="Needed."))
        cache.put(approval(8, 3, decision="Revoked", decidedBy="bob", comment="Wrong."))
        revoked = await kept.reconciled()
        assert decisions(revoked) == ["Approved ann: Needed.", "Revoked bob: Wrong."]
        assert kept.grants.decisions.carried(revoked) == revoked.status.decisions
