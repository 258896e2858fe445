"""What a running operator exposes is what its dashboard and its alerts read."""

import asyncio
import re
from importlib.metadata import version

from testing.admin_client import RefusedError
from tests.harness import manifests
from tests.harness.world import World
from tests.integration.approvals.decisions import NO_SESSIONS
from tests.unit.observability.exposed import dashboard, rules
from tests.unit.observability.promql import read


async def test_a_pending_approval_and_every_series_that_is_read_are_on_metrics(world: World) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(NO_SESSIONS))
    operator = await world.start_operator()
    await world.create_jobs(1)
    await world.until_phase("AwaitingApproval", "job-0")
    async with asyncio.timeout(60):
        while (await operator.metrics()).value("curation_approval_age_seconds") <= 0:  # noqa: ASYNC110 (no event says it)
            await asyncio.sleep(0.1)
    metrics = await operator.metrics()
    assert metrics.value("curation_approvals", decision="Pending") == 1
    assert metrics.value("curation_approvals", decision="Approved") == 0

    _, text = await operator.fetch("/metrics")
    # Some have a series only while something is wrong: that the metric is declared is enough.
    exposed = set(re.findall(r"^(?:# TYPE )?(curation_\w+)", text, re.MULTILINE))
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", ())]
    wanted = {name for expr in (*panels, *(rule["expr"] for rule in rules())) for name in read(expr).metrics}
    assert wanted - exposed == set()


async def approved(world: World, name: str) -> bool:
    """Whether the approval was there to be approved."""
    try:
        await world.cluster.patch("curationapprovals", name, {"spec": {"decision": "Approved", "scope": "Host"}})
    except RefusedError as error:
        if error.code != 404:
            raise
        return False
    return True


async def test_how_long_people_waited_is_on_metrics_once(world: World) -> None:
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(NO_SESSIONS))
    operator = await world.start_operator()
    await world.create_jobs(1)
    await world.until_phase("AwaitingApproval", "job-0")
    name = world.status()["approval"]["name"]
    async with asyncio.timeout(120):
        # The job names its approval before that is made.
        while not await approved(world, name):  # noqa: ASYNC110 (no event says it)
            await asyncio.sleep(0.1)
    await world.until_phase("Running", "job-0")

    counts = {
        "curation_time_to_decision_seconds_count": {"decision": "Approved"},
        "curation_time_to_running_seconds_count": {},
        "curation_modules": {"ready": "True"},
        "curation_build_info": {"version": version("curation-operator")},
    }

    async def read_counts() -> dict[str, float]:
        metrics = await operator.metrics()
        return {name: metrics.value(name, **labels) for name, labels in counts.items()}

    async with asyncio.timeout(120):
        # The status of the approval is written after the job goes on.
        while (found := await read_counts()) != dict.fromkeys(counts, 1):
            assert max(found.values()) <= 1, found
            await asyncio.sleep(0.1)
