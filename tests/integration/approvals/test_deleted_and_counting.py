"""A module or policy that is being deleted and still counts says so, and until when."""

from datetime import datetime, timedelta

import pytest

from testing.admin_client import Document
from tests.harness import manifests
from tests.harness.world import JOBS, World
from tests.integration.approvals.decisions import MODULES, POLICIES, Approvals


def _ready(document: Document | None) -> Document:
    conditions = (document or {}).get("status", {}).get("conditions", [])
    return next((dict(each) for each in conditions if each["type"] == "Ready"), {})


def _kept(document: Document) -> tuple[object, object]:
    """The digest of a module's bytes, and the text of a policy that is in force (deletion is a generation too)."""
    status = document["status"]
    return status.get("digest"), status.get("inForce", {}).get("cedar")


@pytest.mark.parametrize(("plural", "name"), [(MODULES, manifests.MODULE), (POLICIES, "allow")])
async def test_what_is_deleted_while_a_session_may_need_it_says_until_when_it_counts(
    world: World, approvals: Approvals, plural: str, name: str
) -> None:
    await world.prepare()
    await world.start_operator()
    await world.create_job()
    await world.until_phase("Running")
    before = await world.cluster.get(plural, name)
    await world.cluster.delete(plural, name)
    await world.until(lambda: _ready(approvals.seen(plural, name)).get("reason") == "Terminating", "it says so")
    after = await world.cluster.get(plural, name)
    assert _ready(after)["status"] == "False"
    end = datetime.fromisoformat(after["metadata"]["deletionTimestamp"]) + timedelta(minutes=10)
    assert f"until {end:%Y-%m-%d %H:%M:%SZ} at the latest" in _ready(after)["message"]
    assert _kept(after) == _kept(before), "what a Cancel may need"
    await world.cluster.delete(JOBS, "job-0")
    await world.until_gone("job-0")
    await world.until(lambda: approvals.seen(plural, name) is None, "it goes with the last session")
    assert world.service.live_sessions() == []
