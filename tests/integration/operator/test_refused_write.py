"""A status that an admission policy refuses for a while: the outcome is kept, reported once, and lands afterwards."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from testing.controlplane.connection import Connection
from testing.operator_process import OperatorProcess
from tests.harness.slow_runs import Point, assert_completions, hold
from tests.harness.world import JOBS, SECONDS, World

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
REASON = "no job runs today"
REFUSED = "refuses to write the outcome of run"
_POLL_SECONDS = 0.05


class NoneRuns:
    """An admission policy of the test's namespace: no status may say Running."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._name = f"none-runs-{world.namespace}"

    async def begin(self) -> None:
        """Make it, and wait until it works: nothing in its status says when it does."""
        policy = {
            "metadata": {"name": self._name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "resourceRules": [
                        {
                            "apiGroups": ["curation.dev"],
                            "apiVersions": ["v1alpha1"],
                            "operations": ["UPDATE"],
                            "resources": ["curationjobs/status"],
                        }
                    ]
                },
                "validations": [
                    {"expression": "!has(object.status.phase) || object.status.phase != 'Running'", "message": REASON}
                ],
            },
        }
        selector = {"matchLabels": {"kubernetes.io/metadata.name": self._world.namespace}}
        binding = {
            "metadata": {"name": self._name},
            "spec": {
                "policyName": self._name,
                "validationActions": ["Deny"],
                "matchResources": {"namespaceSelector": selector},
            },
        }
        for kind, body in (("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding)):
            code, answer = await self._world.cluster.request("POST", f"{ADMISSION}/{kind}", body)
            assert code == 201, answer
        async with asyncio.timeout(SECONDS):
            while not await self._refuses():  # noqa: ASYNC110 - nothing shows when an admission policy works
                await asyncio.sleep(_POLL_SECONDS)

    async def end(self) -> None:
        """Take it away."""
        for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
            await self._world.cluster.request("DELETE", f"{ADMISSION}/{kind}/{self._name}")

    async def _refuses(self) -> bool:
        """Whether a dry run of such a status, on a job that nobody reconciles, is refused."""
        path = self._world.cluster.path(JOBS, "probe", "status") + "?dryRun=All"
        moment = "2026-01-01T00:00:00Z"
        run = {
            "id": "uid.g1.a1",
            "generation": 1,
            "attempt": 1,
            "templateDigest": "v1:x",
            "module": {"name": "m", "digest": "d"},
            "holder": "h",
            "submittedAt": moment,
        }
        session = {"id": "s", "runID": "uid.g1.a1", "spawnedAt": moment}
        body = {"status": {"phase": "Running", "run": run, "session": session}}
        _, answer = await self._world.cluster.request("PATCH", path, body)
        return REASON in str(answer)


@pytest.fixture
async def none_runs(world: World, installed: Connection) -> AsyncIterator[NoneRuns]:
    """Not in force yet."""
    policy = NoneRuns(world)
    yield policy
    await policy.end()


async def refusals(operator: OperatorProcess) -> float:
    """How many writes of the operator the API server has refused."""
    metrics = await operator.metrics()
    return sum(
        metrics.value("curation_api_requests_total", verb=verb, code=code)
        for verb in ("update", "patch")
        for code in ("403", "422")
    )


async def test_an_outcome_that_is_refused_for_a_while_lands_afterwards_and_is_reported_once(
    world: World, none_runs: NoneRuns
) -> None:
    await world.prepare()
    await world.create_job("probe", suspend=True)
    operator = await world.start_operator()
    rule = hold(world, Point.LAST_ANSWER)
    await world.create_jobs(1)
    await world.service.wait_held(rule)
    await none_runs.begin()
    rule.release()
    await world.until(lambda: len(operator.logged(REFUSED)) == 1, "the refusal is logged")
    refused = operator.logged(REFUSED)[0]
    assert refused["level"] == "ERROR"
    assert REASON in refused["message"]
    await world.until(lambda: world.event_count("WriteRefused", note=REASON) == 1, "the refusal is reported")
    # Several tries: the report must not be repeated with them.
    async with asyncio.timeout(SECONDS):
        while await refusals(operator) < 3:  # noqa: ASYNC110 - a page that is read
            await asyncio.sleep(_POLL_SECONDS)
    assert world.status()["phase"] == "Submitted"

    await none_runs.end()
    await world.until_phase("Running")
    await world.settled()

    assert world.status()["run"]["id"] == world.run_id(generation=1)
    assert len(world.service.sessions()) == 1
    await assert_completions(operator, applied=1)
    assert len(operator.logged(REFUSED)) == 1
    assert world.event_count("WriteRefused", note=REASON) == 1
