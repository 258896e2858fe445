"""A world whose operator has a webhook that the API server asks, and the policies that it is asked about."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from testing.controlplane.connection import Connection, Kubectl
from testing.controlplane.ports import free_port
from testing.operator_process import OperatorProcess
from tests.harness import certificates
from tests.harness.doors import LABEL, Door
from tests.harness.world import World

GOOD: Final = 'permit (principal == Agent::"m", action, resource == HttpEndpoint::"h.example");'
BROKEN: Final = 'permit (principal == Agent::"m", action,\n  resourse == HttpEndpoint::"h.example");'
WHERE: Final = "spec.cedar: policy 0, line 2, column 3: "


def policy(name: str, cedar: str, *, namespace: str, kind: str = "CurationPolicy", **metadata: Any) -> dict[str, Any]:
    """In the namespace; a cluster policy has the label for which the test's door is open."""
    place = {"namespace": namespace} if kind == "CurationPolicy" else {"labels": {LABEL: namespace}}
    meta = {"name": name, **place, **metadata}
    return {"apiVersion": "curation.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": {"cedar": cedar}}


class Doorway:
    """A world whose operator has a webhook that the API server asks."""

    def __init__(self, world: World, connection: Connection, kubectl: Kubectl, folder: Path) -> None:
        self.world, self.connection, self.kubectl = world, connection, kubectl
        self.namespace = world.namespace
        self.door = Door(connection, world.namespace)
        self.folder = folder
        self.certificate, _ = certificates.self_signed(folder, "127.0.0.1")
        self.port = free_port()

    def options(self, port: int | None = None) -> tuple[str, ...]:
        key = self.certificate.with_suffix(".key")
        return (
            *("--https-bind", f"127.0.0.1:{port or self.port}"),
            *("--https-certificate", str(self.certificate), "--https-key", str(key)),
        )

    async def start(self) -> OperatorProcess:
        operator = await self.world.start_operator(*self.options())
        await operator.until_metric(1, "curation_webhook_serving")
        return operator

    def open(self) -> None:
        self.door.open(f"https://127.0.0.1:{self.port}", self.certificate.read_bytes())

    async def opened(self) -> OperatorProcess:
        """With a webhook that has effect, which takes the API server a moment."""
        operator = await self.start()
        self.open()
        await self.until(
            lambda: self.applied(policy("probe", BROKEN, namespace=self.namespace), "--dry-run=server")[0] != 0
        )
        return operator

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(120):
            while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.1)

    def applied(self, document: Any, *options: str) -> tuple[int, str]:
        """Exit code of kubectl, and what it said to its user."""
        words = options if "replace" in options else ("apply", *options)
        done = self.kubectl(*words, "-f", "-", input=json.dumps(document), check=False)
        return done.returncode, done.stdout + done.stderr

    def stored(self, name: str, kind: str = "curationpolicies") -> str:
        done = self.kubectl("get", kind, name, "-o", "jsonpath={.spec.cedar}", check=False)
        return done.stdout
