"""The approvals of a test's namespace as a watch shows them, and the ways to decide and to grant."""

import asyncio
import json
import secrets
import subprocess
from collections.abc import Callable
from typing import Any

from curation.api.approval import EvaluatedRequest, approval_name, request_digest
from testing.admin_client import Document
from tests.harness import manifests
from tests.harness.world import World
from tests.integration.cli.running import Plugin

APPROVALS = "curationapprovals"
POLICIES = "curationpolicies"
MODULES = "curationmodules"


def permit(condition: str) -> str:
    """A policy that permits calls to the session service under a Cedar condition."""
    return manifests.PERMIT_LOCAL.removesuffix(";") + f" when {{ {condition} }};"


def forbid(path: str) -> str:
    """A policy that forbids calls to a path."""
    return f'@id("no-{path.strip("/")}") forbid(principal, action, resource) when {{ context.path == "{path}" }};'


NO_SESSIONS = permit('context.path != "/sessions"')
NEITHER = permit('context.path != "/sessions" && context.path != "/workspaces"')


class Approvals:
    """Every approval of the namespace, in every version; see `decide` and `grant`."""

    def __init__(self, world: World, plugin: Plugin) -> None:
        self._world = world
        self._history = world.others[APPROVALS]
        self._plugin = plugin

    @property
    def present(self) -> dict[str, Document]:
        """By name, the newest version seen."""
        return self._history.present

    @property
    def made(self) -> list[Document]:
        """The first version of every approval that there ever was, in the order of their creation."""
        return [versions[0] for versions in self._history.versions.values()]

    def versions(self, uid: str) -> list[Document]:
        """Every version of one approval."""
        return self._history.versions[uid]

    def status(self, name: str) -> Document:
        """The status of an approval; empty if there is none."""
        return self.present.get(name, {}).get("status") or {}

    def ready(self, name: str) -> str:
        """The reason of its condition Ready; empty before the operator has reconciled this generation."""
        approval = self.present.get(name)
        if approval is None or self.status(name).get("observedGeneration") != approval["metadata"]["generation"]:
            return ""
        return next((c["reason"] for c in self.status(name)["conditions"] if c["type"] == "Ready"), "")

    async def until_ready(self, name: str, reason: str) -> None:
        """Wait until the operator has said this of an approval."""
        await self._world.until(lambda: self.ready(name) == reason, f"approval {name} is {reason}")

    async def one(self, waiting: int = 1) -> Document:
        """Wait until there is one approval, and so many jobs wait for it, as it says and as they say.

        Jobs and approvals come by watches of their own: either may be the later one.
        """

        def there() -> bool:
            return len(self.present) == 1 and all(
                approval.get("status", {}).get("waiting") == waiting and self._saying(name) >= waiting
                for name, approval in self.present.items()
            )

        await self._world.until(there, f"{waiting} jobs wait for one approval")
        return next(iter(self.present.values()))

    def _saying(self, approval: str) -> int:
        """How many jobs say that they wait for it, or that the last observation of their session was denied."""
        statuses = [job.get("status", {}) for job in self._world.jobs.present.values()]
        return sum(
            status.get("approval", {}).get("name") == approval
            or (status.get("phase") == "Running" and _authorized(status) == "False")
            for status in statuses
        )

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for a condition on approvals."""
        await self._world.until(condition, what)

    async def decide(self, name: str, decision: str, **more: str) -> Document:
        """Decide as admin."""
        return await self._world.cluster.patch(APPROVALS, name, {"spec": {"decision": decision, **more}})

    async def curation(self, *args: str, user: str = "admin", code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run the program `kubectl-curation` as a user."""
        return await asyncio.to_thread(self._plugin, *args, user=user, code=code)

    async def request(self, **changes: Any) -> EvaluatedRequest:
        """A request of the shipped module to the session service."""
        digest = await self._digest(changes.get("module", manifests.MODULE))
        host, port = self._world.service.url.removeprefix("http://").split(":")
        fields: Document = {
            "module": manifests.MODULE,
            "moduleDigest": digest,
            "trigger": "Submit",
            "method": "POST",
            "scheme": "http",
            "host": host,
            "port": int(port),
            "path": "/sessions",
            "query": "",
        }
        return EvaluatedRequest.model_validate({**fields, **changes})

    async def _digest(self, module: str) -> str:
        """The digest of a module, as soon as a status shows it."""
        modules = self._world.others[MODULES].present

        def shown() -> str:
            found = modules.get(module, {})
            return str(found.get("spec", {}).get("digest") or found.get("status", {}).get("digest") or "")

        await self._world.until(lambda: bool(shown()), f"the digest of module {module} is shown")
        return shown()

    async def ask(self, request: EvaluatedRequest, name: str = "") -> str:
        """Make a Pending approval by hand; the operator removes one that nobody waits for after some seconds."""
        document = {
            "apiVersion": "curation.dev/v1alpha1",
            "kind": "CurationApproval",
            "metadata": {"name": name or approval_name(request)},
            "spec": {"request": request.to_wire(), "requestDigest": request_digest(request)},
        }
        return str((await self._world.cluster.create(document))["metadata"]["name"])

    async def grant(self, request: EvaluatedRequest, scope: str = "Host", name: str = "", **more: str) -> str:
        """Make an approval by hand and approve it; returns when the operator says that it is in force."""
        made = await self.ask(request, name)
        await self.decide(made, "Approved", scope=scope, **more)
        return made

    async def later(self) -> None:
        """Return when the operator has answered a change made now: it had the time to do what it should not."""
        sentinel = await self.ask(await self.request(path=f"/{secrets.token_hex(8)}"))
        await self.until_ready(sentinel, "Pending")
        await self._world.cluster.delete(APPROVALS, sentinel)

    async def until_module_is(self, name: str, digest: str) -> None:
        """Wait until the operator runs this build of a module."""
        modules = self._world.others[MODULES].present
        await self._world.until(
            lambda: modules.get(name, {}).get("status", {}).get("digest") == digest, f"module {name} is {digest}"
        )

    def seen(self, plural: str, name: str) -> Document | None:
        """The newest version of a policy or module; None once it is gone."""
        return self._world.others[plural].present.get(name)


def _authorized(status: Document) -> str:
    return str(next((c["status"] for c in status["conditions"] if c["type"] == "Authorized"), ""))


def transitions(world: World, name: str) -> list[str]:
    """The phases of a job in the order in which it entered them."""
    phases: list[str] = []
    for version in world.jobs.versions[world.job(name)["metadata"]["uid"]]:
        phase = version.get("status", {}).get("phase")
        if phase and (not phases or phases[-1] != phase):
            phases.append(phase)
    return phases


def status_versions(world: World, name: str, since: str) -> list[tuple[str, str]]:
    """Phase and reason in each version of a job after the one with this resourceVersion: one for each write."""
    return [
        (version["status"]["phase"], version["status"]["reason"])
        for version in world.jobs.versions[world.job(name)["metadata"]["uid"]]
        if int(version["metadata"]["resourceVersion"]) > int(since)
    ]


def wire(document: Document) -> str:
    """For comparing what was recorded in two places, to the letter."""
    return json.dumps(document, sort_keys=True)
