"""Which jobs wait for which approval."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from curation.api.approval import EvaluatedRequest, approval_name, request_digest
from curation.api.job import CurationJob
from curation.cluster.answers import APIError, Exists, Throttled
from curation.cluster.resources import APPROVALS
from curation.reconciler.approvals.asking import Approvals
from curation.reconciler.approvals.grants import Grants
from curation.reconciler.approvals.making import MAX_PENDING
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import carry_out
from tests.unit.lifecycle.builders import request
from tests.unit.reconciler.disconnected import NAMESPACE, Rig, disconnected, document, job, key, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time, now

ASKED = request()
NAME = approval_name(ASKED)


def asks_for(asked: EvaluatedRequest) -> dict[str, Any]:
    """What the status of a job says that waits for the approval of a request."""
    request, digest = asked.to_wire(), request_digest(asked)
    return {"name": approval_name(asked), "since": "2026-01-01T00:00:10Z", "request": request, "requestDigest": digest}


def put(rig: Rig, asked: EvaluatedRequest, version: int = 7) -> None:
    """There is a Pending approval of this request."""
    name = approval_name(asked)
    metadata = {"name": name, "namespace": NAMESPACE, "uid": name, "resourceVersion": str(version), "generation": 1}
    spec = {"request": asked.to_wire(), "requestDigest": request_digest(asked)}
    rig.context.caches[APPROVALS].put({"metadata": metadata, "spec": spec})


def waiting(**more: Any) -> CurationJob:
    return job(status={**run_status("AwaitingApproval"), **more})


@in_virtual_time
async def test_a_job_that_waits_for_a_policy_to_be_mended_no_longer_waits_for_an_approval(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        approvals = Approvals(rig.context, Grants(rig.context, JobIndex(rig.context.metrics)))
        put(rig, ASKED)
        place = Key(APPROVALS, NAMESPACE, NAME)
        await approvals.advance(key(), waiting(approval=asks_for(ASKED)))
        assert approvals.waiters.of(place) is not None
        await approvals.advance(key(), waiting())
        assert approvals.waiters.of(place) is None


@in_virtual_time
async def test_an_approval_that_exists_but_cannot_be_read_is_tried_again_ever_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        approvals = Approvals(rig.context, Grants(rig.context, JobIndex(rig.context.metrics)))
        tries: list[float] = []

        async def exists(*_: object) -> Exists:
            tries.append(now())
            await asyncio.sleep(0.005)
            return Exists()

        async def throttled(*_: object) -> None:
            raise APIError(429, "TooManyRequests", "later")

        async def reconcile(woken: Key) -> None:
            if woken == key():
                result = await approvals.advance(key(), waiting(approval=asks_for(ASKED)))
                carry_out(rig.context, key(), result)

        monkeypatch.setattr(rig.context.api, "create", exists)
        monkeypatch.setattr(rig.context.api, "get", throttled)
        worker = asyncio.create_task(rig.queue.work(reconcile, lambda *_: None))
        rig.queue.add(key())
        await asyncio.sleep(30)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        assert 5 < len(tries) < 15


@in_virtual_time
async def test_a_job_that_waits_for_room_has_it_once_the_approval_that_was_being_made_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        approvals = Approvals(rig.context, Grants(rig.context, JobIndex(rig.context.metrics)))
        for number in range(MAX_PENDING - 1):
            put(rig, request(path=f"/{number}"), version=number + 1)
        answered = asyncio.Event()

        async def throttled(*_: object) -> Throttled:
            await answered.wait()
            return Throttled(1.0)

        monkeypatch.setattr(rig.context.api, "create", throttled)
        first, second = (
            CurationJob.model_validate(
                document(name, status={**run_status("AwaitingApproval"), "approval": asks_for(request(path=name))})
            )
            for name in ("/a", "/b")
        )
        making = asyncio.create_task(approvals.advance(key("a"), first))
        await asyncio.sleep(0)
        await approvals.advance(key("b"), second)
        problem = approvals.facts(key("b"), second).problem
        assert problem is not None
        assert problem.reason == "TooManyApprovals"
        rig.taken()
        answered.set()
        await making
        approvals.forget(key("a"))  # suspended, or deleted, before it tries again
        assert key("b") in rig.taken()
        await approvals.advance(key("b"), second)
        assert approvals.facts(key("b"), second).problem is None
