"""The operator's process after it has judged, granted, run and cancelled, as the kernel sees it."""

from pathlib import Path

from tests.harness import manifests
from tests.harness.world import World
from tests.integration.approvals.decisions import APPROVALS, Approvals

FOREIGN = ("cedarpy", "wasmtime")


async def test_neither_cedar_nor_webassembly_is_in_the_process_that_has_the_token(
    world: World, approvals: Approvals
) -> None:
    operator = await world.start_operator()
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy('permit (principal, action, resource) when { context.path == "/no" };'))
    await world.create_job()
    approval = await approvals.one()
    name = approval["metadata"]["name"]
    await approvals.decide(name, "Approved", scope="Host")
    await world.until_phase("Running")
    await approvals.until_ready(name, "Approved")
    # Written by Cedar itself, elsewhere.
    assert approvals.status(name)["cedar"].startswith('@id("CurationApproval/')
    await approvals.curation("revoke", name)
    await world.edit("job-0", rerun="1")
    await world.until_phase("AwaitingApproval")
    await world.cluster.delete(APPROVALS, name)
    await world.settled()

    mapped = Path(f"/proc/{operator.pid}/maps").read_text()  # noqa: ASYNC240 - a file of the kernel's
    assert "python" in mapped
    assert [name for name in FOREIGN if name in mapped] == []
