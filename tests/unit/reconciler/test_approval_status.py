"""What an approval says after a restart, and that it outlasts one."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from curation.api.approval import approval_name, request_digest
from curation.api.digest import template_digest
from curation.api.names import Trigger
from curation.cluster.answers import Written
from curation.cluster.resources import APPROVALS, JOBS
from curation.lifecycle.outcome import Denied, Report
from curation.reconciler.approvals.approval_status import ApprovalReconciler
from curation.reconciler.approvals.asking import Approvals
from curation.reconciler.approvals.grant_texts import GrantTexts
from curation.reconciler.approvals.grants import Grants
from curation.reconciler.jobs.attempt import Attempt
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import Result, carry_out
from tests.unit.lifecycle.builders import request
from tests.unit.reconciler.disconnected import NAMESPACE, disconnected, document, job, key, run_status, text_here
from tests.unit.reconciler.virtual_time import in_virtual_time

OBSERVED = request().model_copy(update={"trigger": Trigger.OBSERVE})
PLACE = Key(APPROVALS, NAMESPACE, approval_name(OBSERVED))
AUTHORIZED = {
    "type": "Authorized",
    "status": "False",
    "reason": "Denied",
    "message": "the observation was denied",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
    "observedGeneration": 1,
}


@in_virtual_time
async def test_the_approval_of_a_denied_observation_outlasts_a_restart_however_long_the_interval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        context = rig.context
        grants = Grants(context, JobIndex(context.metrics))
        approvals = Approvals(context, grants)
        statuses = ApprovalReconciler(context, approvals, grants, GrantTexts(text_here))
        jobs = rig.jobs(approvals)
        context.caches[APPROVALS].put(
            {
                "metadata": {
                    "name": PLACE.name,
                    "namespace": NAMESPACE,
                    "uid": "u",
                    "resourceVersion": "7",
                    "generation": 1,
                },
                "spec": {"request": OBSERVED.to_wire(), "requestDigest": request_digest(OBSERVED)},
                "status": {"observedGeneration": 1, "waiting": 1, "jobs": ["job"], "requesters": ["alice"]},
            }
        )
        status = {**run_status("Running"), "templateDigest": template_digest(job().spec), "conditions": [AUTHORIZED]}
        context.caches[JOBS].put(document(status=status, spec={"observeIntervalSeconds": 3600}))
        written: list[Any] = []
        observed = asyncio.Event()

        async def write(_key: Key, _version: int, body: Any, *_: object) -> Written:
            written.append(body["status"])
            return Written({})

        async def delete(*_: object, **__: object) -> None:
            raise AssertionError("it is removed though its job goes on asking for it")

        def launch(attempt: Attempt) -> None:
            order = attempt.order
            result = Denied(OBSERVED, "no policy permits it")
            found = context.caches[JOBS].get(NAMESPACE, "job")
            assert found is not None
            asking = approvals.ask(order.key, job(status=status), OBSERVED)
            tasks.append(asyncio.ensure_future(asking))
            jobs._observation.ended(order.key, job(status=status), Report(order.trigger, order.run, result))
            observed.set()

        async def reconcile(woken: Key) -> None:
            carry_out(context, woken, await (jobs if woken.kind is JOBS else statuses).reconcile(woken))

        def failed(_: Key, error: Exception) -> None:
            raise error

        tasks: list[asyncio.Task[Result]] = []
        monkeypatch.setattr(context, "write", write)
        monkeypatch.setattr(context.api, "delete", delete)
        monkeypatch.setattr(rig.runs, "launch", launch)
        worker = asyncio.create_task(context.queue.work(reconcile, failed))
        for woken in (PLACE, key()):  # as at a start, an approval may be first
            context.queue.add(woken)
        async with asyncio.timeout(3600):
            await observed.wait()
        await asyncio.sleep(60)
        assert not worker.done()
        worker.cancel()
        await asyncio.gather(worker, *tasks, return_exceptions=True)
        assert all(each.get("waiting", 1) == 1 for each in written), "it never says that nobody waits"
