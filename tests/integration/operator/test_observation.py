"""An observation that goes wrong never fails its job: it shows, is tried again with backoff, and recovers by itself.

What goes wrong: the guest traps, the guest spins, a policy denies the call, the service is not there. One that tells
nothing new costs nothing but itself.
"""

import asyncio
import time
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from testing.controlplane.connection import Kubectl
from testing.operator_process import OperatorProcess
from tests.guests import hostile
from tests.harness import manifests
from tests.harness.world import JOBS, SECONDS, World

TRAP = "unreachable"
SPIN = "(loop $forever (br $forever))"
BLIND = manifests.PERMIT_LOCAL.removesuffix(";") + ' unless { context.trigger == "Observe" };'
_POLL_SECONDS = 0.1


async def until_observed(operator: OperatorProcess, outcome: str, count: int) -> None:
    """Wait until so many observations have ended so: no object changes when one fails again in the same way."""
    deadline = time.monotonic() + SECONDS
    while True:
        metrics = await operator.metrics()
        if metrics.value("curation_run_duration_seconds_count", trigger="Observe", outcome=outcome) >= count:
            return
        assert time.monotonic() < deadline, f"waited in vain for {count} observations that are {outcome}"
        await asyncio.sleep(_POLL_SECONDS)


async def until_shown(world: World, kubectl: Kubectl, says: str) -> None:
    """Wait until the condition Reconciling says this, and read it in `kubectl describe`."""

    def reconciling() -> str:
        conditions = world.status().get("conditions", ())
        return next((f"{c['reason']}: {c['message']}" for c in conditions if c["type"] == "Reconciling"), "")

    await world.until(lambda: says in reconciling(), f"Reconciling says {says!r}")
    described = (await asyncio.to_thread(kubectl, "describe", "curationjob", "job-0")).stdout
    assert "ObservationFailed" in described
    assert says in described


@pytest.mark.parametrize(
    ("how", "says"), [(TRAP, "(Trap)"), (SPIN, "(LimitExceeded)")], ids=["a guest that traps", "a guest that spins"]
)
async def test_a_guest_that_breaks_when_it_observes_does_not_fail_its_job_and_recovers(
    world: World, kubectl: Kubectl, how: str, says: str
) -> None:
    url = f"{world.service.url}/sessions"
    guest = manifests.wasm_module("breaks", hostile.breaks_when_it_observes(url, how), cpuSeconds=1)
    for document in (*guest, manifests.policy()):
        await world.cluster.create(document)
    operator = await world.start_operator()
    silent = world.service.add_rule("drop", trigger="Observe")
    await world.create_job(moduleRef={"name": "breaks"}, observeIntervalSeconds=1)

    await until_observed(operator, "Failed", 3)
    assert world.status()["phase"] == "Running"
    await until_shown(world, kubectl, says)
    world.service.remove_rule(silent)

    await world.until_phase("Completed", output={"seen": True})
    assert world.status()["run"]["attempt"] == 1
    await world.settled()


@pytest.mark.parametrize("why", ["denied", "unreachable"])
async def test_a_session_that_cannot_be_reached_does_not_fail_its_job_and_is_seen_when_it_can(
    world: World, kubectl: Kubectl, why: str
) -> None:
    await world.prepare()
    operator = await world.start_operator()
    silent = world.service.add_rule("drop", trigger="Observe")
    if why == "denied":
        await world.cluster.patch("curationpolicies", "allow", {"spec": {"cedar": BLIND}})
    await world.create_job(observeIntervalSeconds=1, onDenied="Fail")

    await until_observed(operator, "Denied" if why == "denied" else "Failed", 3)
    assert world.status()["phase"] == "Running"
    await until_shown(world, kubectl, "was denied" if why == "denied" else "(HTTPUnavailable)")
    world.service.complete(world.status()["session"]["id"], {"answer": 42})
    world.service.remove_rule(silent)
    if why == "denied":
        await world.cluster.patch("curationpolicies", "allow", {"spec": {"cedar": manifests.PERMIT_LOCAL}})

    await world.until_phase("Completed", output={"answer": 42})
    assert world.status()["run"]["attempt"] == 1
    await world.settled()


async def test_a_session_that_completes_with_an_output_that_is_too_large_completes_its_job_without_it(
    world: World,
) -> None:
    await world.prepare()
    await world.start_operator()
    await world.create_job(observeIntervalSeconds=1)
    await world.until_phase("Running")
    world.service.complete(world.status()["session"]["id"], {"text": "y" * 40_000})

    await world.until_phase("Completed", output={})
    assert "Its output of 40011 bytes is over outputSize 32Ki and left out." in world.status()["message"]
    await world.settled()


async def test_progress_is_shown_at_once_and_then_not_sooner_than_30_seconds(world: World) -> None:
    await world.prepare()
    operator = await world.start_operator()
    await world.create_job(observeIntervalSeconds=1)
    await world.until_phase("Running")
    session = world.status()["session"]["id"]

    def shown() -> object:
        return world.status()["session"].get("progress")

    for step in (1, 2):
        world.service.report(session, {"step": step})
        await world.until(lambda step=step: shown() == {"step": step}, f"step {step} is shown")  # type: ignore[misc]
        observations = (await operator.metrics()).value("curation_run_duration_seconds_count", trigger="Observe")
        assert observations >= step
    first, second = (datetime.fromisoformat(at) for at in _progress_times(world))
    assert second - first >= timedelta(seconds=30)


def _progress_times(world: World) -> list[str]:
    """Each time at which progress was written."""
    versions = world.jobs.versions[world.job()["metadata"]["uid"]]
    times = [version.get("status", {}).get("session", {}).get("progressAt") for version in versions]
    return list(dict.fromkeys(time for time in times if time))


async def test_observations_are_an_interval_apart_and_ever_further_while_they_fail(world: World) -> None:
    await world.prepare()
    operator = await world.start_operator()
    await world.create_job(observeIntervalSeconds=1)
    await world.until_phase("Running")
    await until_observed(operator, "StillRunning", 3)
    silent = world.service.add_rule("fail", trigger="Observe")
    await until_observed(operator, "Failed", 4)
    world.service.remove_rule(silent)

    observations = [entry for entry in world.service.log() if entry.caller.trigger == "Observe"]
    good = [entry.time for entry in observations if entry.status == 200]
    bad = [entry.time for entry in observations if entry.status != 200]
    assert min(after - before for before, after in pairwise(good)) > 0.9
    # 10% of jitter, twice as long after each failure.
    for (before, after), interval in zip(pairwise(bad), (1, 2, 4), strict=False):
        assert after - before > 0.9 * interval


@pytest.mark.own_operator
async def test_a_session_that_does_not_change_is_observed_ever_more_rarely_without_a_write_or_a_reconciliation(
    world: World,
) -> None:
    await world.prepare()
    operator = await world.start_operator()
    await world.create_job(observe={"intervalSeconds": 1, "maxIntervalSeconds": 4})
    await world.until_phase("Running")
    await until_observed(operator, "StillRunning", 1)

    async def cost() -> tuple[float, str]:
        reconciled = (await operator.metrics()).value("curation_reconcile_seconds_count", kind="CurationJob")
        version: str = (await world.cluster.get(JOBS, "job-0"))["metadata"]["resourceVersion"]
        return reconciled, version

    before = await cost()
    await until_observed(operator, "StillRunning", 5)
    assert await cost() == before
    times = [entry.time for entry in world.service.log() if entry.caller.trigger == "Observe"]
    for at, following in pairwise(times):
        assert following - at > 0.9 * max(1, min(4, at - times[0]))

    annotation = {"metadata": {"annotations": {"curation.dev/observe-requested-at": "now"}}}
    await world.cluster.patch(JOBS, "job-0", annotation)
    world.service.complete(world.status()["session"]["id"], {"answer": 42})
    await world.until_phase("Completed", output={"answer": 42})
    await world.settled()
