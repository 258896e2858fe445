"""For how long a grant that has ended still lets what it allowed to start be cancelled."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from curation.api.approval import request_digest
from curation.api.names import Trigger
from curation.authz.decision import CallContext
from curation.authz.gate import Gate
from curation.cluster.answers import Document
from curation.cluster.resources import APPROVALS, JOBS
from curation.lifecycle.deadlines import HELD_AT_MOST
from curation.reconciler.approvals.grants import JOBS_UNKNOWN_AT_MOST, Grants
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import carry_out
from tests.unit.lifecycle.builders import request
from tests.unit.reconciler.disconnected import EPOCH, NAMESPACE, Rig, disconnected, document, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time, now

APPROVAL = Key(APPROVALS, NAMESPACE, "m-1")
SUBMIT, CANCEL = request(), request().model_copy(update={"trigger": Trigger.CANCEL})


def before_start(seconds: float) -> str:
    return datetime.fromtimestamp(EPOCH - seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def expired(seconds: float) -> Document:
    return approval(decision="Approved", expiresAt=before_start(seconds))


def revoked(seconds: float) -> Document:
    ready = {"type": "Ready", "status": "False", "reason": "Revoked", "lastTransitionTime": before_start(seconds)}
    return approval(decision="Revoked", status={"conditions": [ready]})


def approval(*, status: Document | None = None, **spec: Any) -> Document:
    asked = {"request": SUBMIT.to_wire(), "requestDigest": request_digest(SUBMIT), "scope": "Host"}
    metadata = {"name": APPROVAL.name, "namespace": NAMESPACE, "uid": "u", "resourceVersion": "7", "generation": 2}
    return {"metadata": metadata, "spec": {**asked, **spec}, "status": status or {}}


def started(rig: Rig, seen: Document, phase: str = "Running") -> Grants:
    """Of a process that has just started and sees this approval, and then its only job."""
    index = JobIndex(rig.context.metrics)
    found = Grants(rig.context, index)
    rig.context.caches[APPROVALS].listen(found.on_change)
    rig.context.caches[JOBS].listen(index.on_change)
    rig.context.caches[APPROVALS].put(seen)
    carry_out(rig.context, APPROVAL, found.drop_kept(APPROVAL))
    rig.context.caches[JOBS].put(document(status=run_status(phase)))
    return found


def allowed(rig: Rig) -> tuple[bool, bool]:
    """Whether a Submit and a Cancel request are allowed."""
    gate = Gate(rig.book, rig.context.clock.now)
    first, second = (gate.authorize(NAMESPACE, asked, CallContext("job")) for asked in (SUBMIT, CANCEL))
    return first.allowed, second.allowed


async def until_dropped(rig: Rig, found: Grants) -> float:
    """Work as the queue says until the grant no longer counts; returns after how many seconds that was."""
    began = now()
    while allowed(rig)[1]:
        taken = await rig.queue.get()
        rig.queue.done(taken)
        if taken == APPROVAL:
            carry_out(rig.context, taken, found.drop_kept(taken))
    return now() - began


@pytest.mark.parametrize("ended", [expired, revoked])
@in_virtual_time
async def test_a_grant_that_ended_before_the_start_counts_for_cancel_until_ten_minutes_after_its_end(
    tmp_path: Path, ended: Callable[[float], Document]
) -> None:
    async with disconnected(tmp_path) as rig:
        found = started(rig, ended(HELD_AT_MOST.total_seconds() - 60))
        assert allowed(rig) == (False, True)
        assert 60 <= await until_dropped(rig, found) < 65


@pytest.mark.parametrize("ended", [expired, revoked])
@in_virtual_time
async def test_a_grant_that_ended_long_before_the_start_counts_for_nothing(
    tmp_path: Path, ended: Callable[[float], Document]
) -> None:
    async with disconnected(tmp_path) as rig:
        started(rig, ended(HELD_AT_MOST.total_seconds()))
        assert allowed(rig) == (False, False)


@in_virtual_time
async def test_a_revocation_that_no_status_shows_yet_counts_for_cancel_from_now_on(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        found = started(rig, approval(decision="Revoked"))
        assert allowed(rig) == (False, True)
        assert HELD_AT_MOST.total_seconds() <= await until_dropped(rig, found) < HELD_AT_MOST.total_seconds() + 5


@in_virtual_time
async def test_where_no_job_may_own_a_session_a_grant_that_has_ended_is_soon_forgotten(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        found = started(rig, revoked(1), "Completed")
        assert await until_dropped(rig, found) < JOBS_UNKNOWN_AT_MOST.total_seconds() + 5


@in_virtual_time
async def test_a_denied_or_pending_request_was_never_granted(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        for decision in ("Denied", "Pending"):
            started(rig, approval(decision=decision))
            assert allowed(rig) == (False, False)
