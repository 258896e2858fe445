"""Others that refuse writes in a namespace: an admission policy, a quota."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from testing.admin_client import Document
from tests.harness.world import SECONDS, World

ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_POLL_SECONDS = 0.05


@asynccontextmanager
async def objection(
    world: World,
    words: str,
    operation: str,
    resource: str,
    probe: tuple[str, str, Document | None],
    expression: str = "false",
    group: str = "curation.dev",
) -> AsyncIterator[None]:
    """While it is open an admission policy refuses, with these words, an operation on a resource of the namespace.

    The `probe` (method, path, body) is a dry run that it refuses: nothing else shows when a policy works.
    """
    name = f"{words.replace(' ', '-')}-{world.namespace}"
    rule = {"apiGroups": [group], "apiVersions": ["*"], "operations": [operation], "resources": [resource]}
    policy = {
        "metadata": {"name": name},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": expression, "message": words}],
        },
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": world.namespace}}
    binding = {
        "metadata": {"name": name},
        "spec": {
            "policyName": name,
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": selector},
        },
    }
    method, path, document = probe
    kinds = (("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding))
    try:
        for kind, body in kinds:
            code, answer = await world.cluster.request("POST", f"{ADMISSION}/{kind}", body)
            assert code == 201, answer
        async with asyncio.timeout(SECONDS):
            # Nothing shows when an admission policy works.
            while words not in str((await world.cluster.request(method, f"{path}?dryRun=All", document))[1]):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)
        yield
    finally:
        for kind, _ in reversed(kinds):
            await world.cluster.request("DELETE", f"{ADMISSION}/{kind}/{name}")
        async with asyncio.timeout(SECONDS):
            while words in str((await world.cluster.request(method, f"{path}?dryRun=All", document))[1]):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)


@asynccontextmanager
async def quota(world: World, counted: str, probe: tuple[str, str, Document]) -> AsyncIterator[None]:
    """While it is open a ResourceQuota allows none of what is counted, such as count/curationapprovals.curation.dev."""
    path = f"/api/v1/namespaces/{world.namespace}/resourcequotas"
    hard = {counted: "0"}
    code, answer = await world.cluster.request(
        "POST", path, {"metadata": {"name": "none"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": hard}}
    )
    assert code == 201, answer
    # The control plane of the tests has no quota controller, which would write this.
    code, answer = await world.cluster.request("PATCH", f"{path}/none/status", {"status": {"hard": hard, "used": hard}})
    assert code == 200, answer
    method, where, document = probe
    async with asyncio.timeout(SECONDS):
        while "exceeded quota" not in str(  # noqa: ASYNC110 - nothing shows when a quota works
            (await world.cluster.request(method, f"{where}?dryRun=All", document))[1]
        ):
            await asyncio.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        await world.cluster.request("DELETE", f"{path}/none")
