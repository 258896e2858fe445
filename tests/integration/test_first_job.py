"""README's first job against the sample session service: the text as printed, on a real API server, but for the node.

What a node would do is done here by hand: the process runs with the arguments of the sample's Deployment, and the name
of its Service stands for its address. `tests/e2e/test_first_job.py` leaves that to a real node.
"""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from testing.controlplane.connection import Connection
from tests.harness.readme import ROOT, first_job, first_objects
from tests.harness.world import World

SAMPLE = ROOT / "manifests" / "samples" / "session-service"


def sample(connection: Connection) -> dict[str, dict[str, Any]]:
    """The sample's objects, by kind."""
    rendered = connection.kubectl("kustomize", str(SAMPLE)).stdout
    return {document["kind"]: document for document in yaml.safe_load_all(rendered)}


def stage(folder: Path) -> list[str]:
    """Copy what the image has into the folder, as its stage of the Dockerfile says; returns the entry point."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").partition(" AS sessions\n")[2].partition("\nFROM ")[0]
    entry: list[str] = []
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "COPY" and not rest.startswith("--from"):
            source, target = rest.split()
            place = folder / target.removeprefix("/srv/")
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)
            assert f"!{source}" in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        elif word == "ENTRYPOINT":
            entry = json.loads(rest)
    return entry


async def test_the_first_job_of_the_readme_runs_and_ends_with_the_sample_session_service(
    world: World, tmp_path: Path, installed: Connection
) -> None:
    (container,) = sample(installed)["Deployment"]["spec"]["template"]["spec"]["containers"]
    command = [*stage(tmp_path), *container["args"]]
    assert command[0] == "python"
    here = {
        "--host=$(POD_IP)": "--host=127.0.0.1",
        "--port=8080": "--port=0",
        "--complete-after=30": "--complete-after=1",
    }
    assert set(here) <= set(command)
    arguments = [here.get(word, word) for word in command[1:]]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        await world.start_operator()
        text = first_job().replace("http://sessions.sample-sessions.svc.cluster.local:8080", url)
        text = text.replace("sessions.sample-sessions.svc.cluster.local", "127.0.0.1")
        text = text.replace("resource.port == 8080", f"resource.port == {url.rpartition(':')[2]}")
        text = text.replace("namespace: team-a", f"namespace: {world.namespace}")
        for document in yaml.safe_load_all(text):
            await world.cluster.create(document)
        await world.until_phase("Completed", "first", output={"ended": "by itself, after 1 s"}, seconds=400)
    finally:
        process.kill()
        await process.wait()


def test_the_first_job_names_the_sample_and_the_sample_is_accepted(installed: Connection) -> None:
    objects, found = first_objects(), sample(installed)
    service = found["Service"]
    host = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc.cluster.local"
    (port,) = (each["port"] for each in service["spec"]["ports"])
    assert objects["CurationJob"]["spec"]["config"]["api_url"] == f"http://{host}:{port}"
    assert f'HttpEndpoint::"{host}"' in objects["CurationPolicy"]["spec"]["cedar"]
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    for selector in (
        service["spec"]["selector"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        found["Deployment"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels
    # Once as the server sees it, in a namespace with the level that the sample's own has.
    made = f"sample-{installed.url.rpartition(':')[2]}"
    found["Namespace"]["metadata"]["name"] = made
    for document in found.values():
        if document["kind"] != "Namespace":
            document["metadata"]["namespace"] = made
    ordered = yaml.safe_dump_all([found.pop("Namespace"), *found.values()])
    try:
        answer = installed.kubectl("apply", "-f", "-", input=ordered)
        assert "Warning" not in answer.stderr
    finally:
        installed.kubectl("delete", "namespace", made, "--wait=false", check=False)
