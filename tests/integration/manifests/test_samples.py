"""The samples do what their comments say, with the session service of the test in place of the example."""

import asyncio
from pathlib import Path

import yaml

from testing.controlplane.connection import Kubectl
from tests.harness.world import World

_SAMPLES = Path(__file__).parents[3] / "manifests" / "samples"


async def test_the_samples_do_what_their_comments_say(world: World, kubectl: Kubectl) -> None:
    rendered = kubectl("kustomize", str(_SAMPLES)).stdout
    for example, here in (
        ("https://sessions.example.com/v1", world.service.url),
        ("sessions.example.com", "127.0.0.1"),
        ("namespace: default", f"namespace: {world.namespace}"),
        ('resource.scheme == "https" && context.path like "/v1/*"', 'resource.scheme == "http"'),
    ):
        assert example in rendered
        rendered = rendered.replace(example, here)
    documents = list(yaml.safe_load_all(rendered))
    assert {document["metadata"]["namespace"] for document in documents} == {world.namespace}
    await world.start_operator()
    await asyncio.to_thread(kubectl, "apply", "-f", "-", input=yaml.safe_dump_all(documents))

    await world.until_phase("Running", "first", reason="SessionSpawned")
    await world.until_phase("Completed", "hello", output={"greeting": "hello"})
    await world.settled()
    # kubectl applies the policy last, by its kind: it may come after a first attempt, which was denied.
    attempt = str(world.status("first")["run"]["attempt"])
    for kind, expected in {
        "cjob": [
            ["NAME", "PHASE", "REASON", "ATTEMPT", "SESSION", "AGE"],
            ["first", "Running", "SessionSpawned", attempt],
        ],
        "cmod": [
            ["NAME", "READY", "REASON", "SIZE", "AGE"],
            ["build-session-message", "True", "Compiled"],
            ["hello", "True", "Compiled", "401"],
        ],
        "curpol": [
            ["NAME", "READY", "REASON", "POLICIES", "IN-FORCE", "AGE"],
            ["session-service", "True", "Valid", "1"],
        ],
    }.items():
        table = [line.split() for line in (await asyncio.to_thread(kubectl, "get", kind)).stdout.splitlines()]
        for row in expected:
            assert row in [line[: len(row)] for line in table], table
