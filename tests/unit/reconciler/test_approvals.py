"""Which jobs wait for which approval."""

from pathlib import Path
from typing import Any

from curation.api.approval import approval_name, request_digest
from curation.api.job import CurationJob
from curation.cluster.resources import APPROVALS
from curation.reconciler.approvals import Approvals
from curation.reconciler.context import Key
from curation.reconciler.grants import Grants
from curation.reconciler.job_index import JobIndex
from tests.unit.lifecycle.builders import request
from tests.unit.reconciler.disconnected import NAMESPACE, disconnected, job, key, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time

ASKED = request()
NAME = approval_name(ASKED)


def waiting(**more: Any) -> CurationJob:
    return job(status={**run_status("AwaitingApproval"), **more})


@in_virtual_time
async def test_a_job_that_waits_for_a_policy_to_be_mended_no_longer_waits_for_an_approval(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        approvals = Approvals(rig.context, Grants(rig.context, JobIndex(rig.context.metrics)))
        rig.context.caches[APPROVALS].put(
            {
                "metadata": {"name": NAME, "namespace": NAMESPACE, "uid": "u", "resourceVersion": "7", "generation": 1},
                "spec": {"request": ASKED.to_wire(), "requestDigest": request_digest(ASKED)},
            }
        )
        place = Key(APPROVALS, NAMESPACE, NAME)
        asked = {"request": ASKED.to_wire(), "requestDigest": request_digest(ASKED)}
        await approvals.advance(key(), waiting(approval={"name": NAME, "since": "2026-01-01T00:00:10Z", **asked}))
        assert approvals.waiting(place) is not None
        await approvals.advance(key(), waiting())
        assert approvals.waiting(place) is None
