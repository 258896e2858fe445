"""A GitOps controller in small: manifests, and a reconciliation of them by `kubectl apply --server-side`."""

import asyncio
import json
import subprocess
from typing import Any

from testing.admin_client import Document
from tests.harness import manifests
from tests.harness.world import World

MANAGER = "kustomize-controller"


class Repository:
    """The jobs that are in Git, by name; change them and reconcile."""

    def __init__(self, world: World, *, force: bool = False) -> None:
        """With `force` it takes back what others have changed, as Flux and Argo CD do; without, it objects."""
        self._world = world
        self._options = ("--server-side", f"--field-manager={MANAGER}", *(("--force-conflicts",) if force else ()))
        self.jobs: dict[str, Document] = {}

    def commit(self, name: str, **spec: Any) -> None:
        """Put a job into Git, or another version of it."""
        self.jobs[name] = manifests.job(name, self._world.service.url, **spec)

    async def reconcile(self) -> subprocess.CompletedProcess[str]:
        """Apply all that is in Git, once."""
        return await self.kubectl("apply", *self._options, "-f", "-", input=self._text())

    async def diff(self) -> str:
        """What an apply would change."""
        return (await self.kubectl("diff", *self._options, "-f", "-", input=self._text())).stdout

    async def apply_as(self, manager: str, document: Document, *options: str) -> subprocess.CompletedProcess[str]:
        """Apply something as another field manager."""
        command = ("apply", "--server-side", f"--field-manager={manager}", *options, "-f", "-")
        return await self.kubectl(*command, input=json.dumps(document))

    async def kubectl(self, *args: str, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002
        """Run kubectl in the world's namespace, whatever comes of it."""
        connection, namespace = self._world.cluster.connection, self._world.namespace
        return await asyncio.to_thread(connection.kubectl, "--namespace", namespace, *args, input=input, check=False)

    def _text(self) -> str:
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(self.jobs.values())})


def partial(name: str, **spec: Any) -> Document:
    """What another manager wants of a job, and no more."""
    return {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": "CurationJob",
        "metadata": {"name": name},
        "spec": {"moduleRef": {"name": manifests.MODULE}, **spec},
    }


def run_ids(world: World, name: str) -> list[str]:
    """The runs of a job, by its status from its beginning on, without the job's uid."""
    uid = world.job(name)["metadata"]["uid"]
    found: list[str] = []
    for job in world.jobs.versions[uid]:
        run = job.get("status", {}).get("run", {}).get("id", "").removeprefix(f"{uid}.")
        if run and run not in found:
            found.append(run)
    return found


def runs_with_sessions(world: World, name: str) -> list[str]:
    """The runs of a job, by the sessions that they created, one entry for each session."""
    uid = world.job(name)["metadata"]["uid"]
    return [(session.caller.run_id or "").removeprefix(f"{uid}.") for session in world.service.sessions(job=uid)]


def phases(world: World, name: str) -> list[str]:
    """The phases that a job went through."""
    found: list[str] = []
    for job in world.jobs.versions[world.job(name)["metadata"]["uid"]]:
        phase = job.get("status", {}).get("phase")
        if phase and found[-1:] != [phase]:
            found.append(phase)
    return found


def resource_versions(world: World) -> dict[str, str]:
    """The version that each job is at."""
    return {name: job["metadata"]["resourceVersion"] for name, job in world.jobs.present.items()}
