"""One team: its namespace, its repository, and the Kustomization by which Flux applies it."""

import asyncio
import re
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from testing.controlplane.server import ControlPlane
from testing.gitops.flux import NAMESPACE, Flux
from testing.gitops.repository import Repository
from testing.sessions import SessionService
from tests.harness import manifests

Document = dict[str, Any]

SAMPLE = Path("manifests/gitops/flux/kustomization.yaml").read_text()
GROUP = "/apis/curation.dev/v1alpha1"
FLUX = "/apis/kustomize.toolkit.fluxcd.io/v1"
SOURCE = "/apis/source.toolkit.fluxcd.io/v1"
SECONDS = 300.0
"""How long a test waits for what takes seconds on an idle machine."""
LOOK_SECONDS = 0.2

WAITING_FAILS = " ".join(re.findall(r"^ +#   (.*)$", SAMPLE.split("# failed: >-")[1], re.MULTILINE))
"""The sample's other `failed`: with it Flux does not hold back the commit that would free a job that waits."""


def job_of(name: str, url: str, **spec: Any) -> Document:
    """A job that observes its session each second."""
    return manifests.job(name, url, **{"observeIntervalSeconds": 1, **spec})


class Team:
    """See `team`. Files are committed with `commit`, and what comes of them is waited for with `until`."""

    def __init__(
        self, server: ControlPlane, flux: Flux, service: SessionService, repository: Repository, made_for: str
    ) -> None:
        self.server = server
        self.service = service
        self.repository = repository
        self.name = f"team-{secrets.token_hex(4)}"
        self.made_for = made_for
        self.flux = flux
        self.expressions: dict[str, str] = {}
        """In place of the sample's `failed` of a kind."""
        self.checks: list[Document] | None = None
        """In place of all of the sample's expressions."""

    async def begin(self) -> None:
        """The namespace, and an empty repository."""
        await self.kubectl("create", "namespace", self.name)
        self.repository.write({"jobs/kustomization.yaml": "resources: []\n"})
        self.repository.commit("begin")

    async def follow(self, name: str | None = None, **spec: Any) -> None:
        """Let Flux apply the repository, by the Kustomization that is shipped as a sample.

        `name` makes another Kustomization of the same repository.
        """
        source = {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": {"name": self.name, "namespace": NAMESPACE},
            "spec": {"url": self.repository.url, "interval": "2s", "timeout": "60s", "ref": {"branch": "main"}},
        }
        kustomization = yaml.safe_load(SAMPLE)
        kustomization["metadata"]["name"] = name or self.name
        kustomization["spec"] |= {
            "sourceRef": {"kind": "GitRepository", "name": self.name},
            "targetNamespace": self.name,
            "interval": "10s",
            "retryInterval": "5s",
            **spec,
        }
        kustomization["spec"] = {name: value for name, value in kustomization["spec"].items() if value is not None}
        if self.checks is not None:
            kustomization["spec"]["healthCheckExprs"] = self.checks
        for check in kustomization["spec"]["healthCheckExprs"]:
            check["failed"] = self.expressions.get(check["kind"], check.get("failed"))
            if check["failed"] is None:
                del check["failed"]
        for document in (source, kustomization):
            await self.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump(document))

    async def commit(self, message: str, *documents: Document) -> str:
        """Make these all the objects there are in Git; the revision as Flux names it."""
        files = {
            f"jobs/{number}-{document['kind'].lower()}.yaml": yaml.safe_dump(document)
            for number, document in enumerate(documents)
        }
        self.repository.write(files or {"jobs/kustomization.yaml": "resources: []\n"})
        commit = await asyncio.to_thread(self.repository.commit, message)
        return f"main@sha1:{commit}"

    def job(self, name: str = "nightly", **spec: Any) -> Document:
        """A job of the team's service."""
        return job_of(name, self.service.url, **spec)

    # -- looking -----------------------------------------------------------------------------------------------------

    async def get(self, path: str) -> Document:
        """An object; empty if there is none."""
        status, found = await asyncio.to_thread(self.server.request, "GET", path)
        return found if status == 200 else {}

    async def object(self, plural: str, name: str) -> Document:
        """An object of curation.dev in the namespace."""
        return await self.get(f"{GROUP}/namespaces/{self.name}/{plural}/{name}")

    async def status(self, name: str = "nightly") -> Document:
        """The status of a job."""
        found: Document = (await self.object("curationjobs", name)).get("status", {})
        return found

    async def ready(self) -> Document:
        """The Ready condition of the Kustomization, with the revisions beside it."""
        status = (await self.get(f"{FLUX}/namespaces/{NAMESPACE}/kustomizations/{self.name}")).get("status", {})
        conditions: list[Document] = status.get("conditions", [])
        ready: Document = next((item for item in conditions if item["type"] == "Ready"), {})
        return {
            **ready,
            "applied": status.get("lastAppliedRevision"),
            "attempted": status.get("lastAttemptedRevision"),
        }

    async def kubectl(self, *words: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002
        """kubectl as admin; its output."""
        return (await asyncio.to_thread(self.server.kubectl, *words, input=input, check=check)).stdout

    async def plugin(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """kubectl-curation as admin, in the team's namespace."""
        command = [sys.executable, "-m", "curation.cli.plugin", *words, "-n", self.name]
        environment = self.server.connection.environment()
        return await asyncio.to_thread(
            subprocess.run, command, env=environment, capture_output=True, text=True, check=check, timeout=120
        )

    # -- waiting -----------------------------------------------------------------------------------------------------

    async def until(self, look: Callable[[], Any], what: str) -> Any:
        """Wait until the look, an async function, gives something true; returns that."""
        try:
            async with asyncio.timeout(SECONDS):
                while True:
                    self.flux.check()
                    if found := await look():
                        return found
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            said = self.flux.log("kustomize-controller")[-3000:]
            raise AssertionError(
                f"waited in vain until {what}: {await self.ready()}\n{await self.status()}\n{said}"
            ) from None

    async def until_phase(self, phase: str, name: str = "nightly", **fields: Any) -> Document:
        """Wait until a job is in this phase, with these fields of its status."""

        async def reached() -> Document | None:
            status = await self.status(name)
            fits = all(status.get(field) == value for field, value in {"phase": phase, **fields}.items())
            return status if fits else None

        found: Document = await self.until(reached, f"{name} is {phase} {fields}")
        return found

    async def until_ready(self, revision: str, *, ready: str = "True") -> Document:
        """Wait until the Kustomization's condition is this, for this revision."""

        async def reached() -> Document | None:
            condition = await self.ready()
            at = condition["applied"] if ready == "True" else condition["attempted"]
            return condition if condition.get("status") == ready and at == revision else None

        found: Document = await self.until(reached, f"the Kustomization is {ready} at {revision}")
        return found

    async def finish(self, name: str = "nightly") -> None:
        """Let the service say that the job's session is done."""
        status = await self.until_phase("Running", name)
        self.service.complete(status["session"]["id"], {"n": 1})

    async def live(self) -> list[str]:
        """The team's sessions that live."""
        jobs = (await self.get(f"{GROUP}/namespaces/{self.name}/curationjobs")).get("items", [])
        return [session.id for job in jobs for session in self.service.live_sessions(job=job["metadata"]["uid"])]

    async def end(self) -> None:
        """Take away what Flux follows; the control plane's end takes the rest."""
        for kind in ("kustomization.kustomize.toolkit.fluxcd.io", "gitrepository.source.toolkit.fluxcd.io"):
            await self.kubectl(
                *("delete", kind, self.name, "-n", NAMESPACE, "--ignore-not-found", "--wait=false"), check=False
            )
