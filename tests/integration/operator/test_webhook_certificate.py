"""The webhook as it is shipped: the leader makes the certificate, tells the API server, and renews it under load."""

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from curation.reconciler.process.webhook import not_after
from curation.reconciler.process.webhook_certificate import VALID, Kept, make
from curation.reconciler.process.webhook_keeping import NAME
from testing.controlplane.connection import Connection, Kubectl
from testing.operator_process import OperatorProcess
from tests.harness.doors import COMPONENT, CONFIGURATIONS, SHIPPED, shipped_name
from tests.harness.doorway import BROKEN, GOOD, WHERE, policy
from tests.harness.leases import election
from tests.harness.world import World

pytestmark = pytest.mark.own_operator

WAIT_SECONDS = 300


class Shipped:
    """The component, but that the Service leads to this machine, and that it is asked of one namespace alone."""

    def __init__(self, world: World, connection: Connection, kubectl: Kubectl) -> None:
        self.world, self._connection, self._kubectl = world, connection, kubectl
        self.namespace = world.namespace

    def apply(self, port: int) -> None:
        admin = self._connection.kubectl
        admin("apply", "--server-side", "-f", str(COMPONENT / "webhook-ca-bundle.yaml"))
        text = (COMPONENT / "role.yaml").read_text()
        admin("apply", "--server-side", "-f", "-", input=text)
        for document in yaml.safe_load_all(text):
            if document["kind"] in ("Role", "RoleBinding"):
                document["metadata"]["namespace"] = self.namespace
                admin("apply", "--server-side", "-f", "-", input=json.dumps(document))
        secret = yaml.safe_load((COMPONENT / "secret.yaml").read_text())
        secret["metadata"]["namespace"] = self.namespace
        service = yaml.safe_load((COMPONENT / "service.yaml").read_text())
        service["metadata"]["namespace"] = self.namespace
        service["spec"] = {"type": "ExternalName", "externalName": "localhost"}
        for document in (secret, service):
            admin("apply", "--server-side", "-f", "-", input=json.dumps(document))
        configuration = yaml.safe_load((COMPONENT / "webhook.yaml").read_text())
        for webhook in configuration["webhooks"]:
            webhook["clientConfig"]["service"].update(namespace=self.namespace, port=port)
            webhook["namespaceSelector"] = {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}}
            webhook["rules"] = [{**rule, "scope": "Namespaced"} for rule in webhook["rules"]]
        admin("apply", "--server-side", "-f", "-", input=json.dumps(configuration))

    def ask_at(self, port: int) -> None:
        """Let the Service lead to another replica."""
        found = self.configuration()
        for webhook in found["webhooks"]:
            webhook["clientConfig"]["service"]["port"] = port
        status, answer = self._connection.request("PUT", f"{CONFIGURATIONS}/{SHIPPED}", found)
        assert status == 200, answer

    def configuration(self) -> Any:
        return self._connection.request("GET", f"{CONFIGURATIONS}/{SHIPPED}")[1]

    def kept(self) -> Kept:
        _, secret = self._connection.request("GET", self._secret)
        return Kept.read(secret.get("data") or {})

    def keep(self, kept: Kept) -> None:
        status, answer = self._connection.request("PATCH", self._secret, {"data": kept.data()})
        assert status == 200, answer

    def trusts(self, bundle: bytes) -> bool:
        bundles = {webhook["clientConfig"].get("caBundle") for webhook in self.configuration()["webhooks"]}
        return bundles == {base64.b64encode(bundle).decode()}

    def applied(self, name: str, cedar: str, *options: str) -> tuple[int, str]:
        document = json.dumps(policy(name, cedar, namespace=self.namespace))
        done = self._kubectl("apply", *options, "-f", "-", input=document, check=False)
        return done.returncode, done.stdout + done.stderr

    def refuses(self) -> bool:
        return WHERE in self.applied("broken", BROKEN, "--dry-run=server")[1]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.5)

    @property
    def _secret(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/secrets/{NAME}"


@pytest.fixture
async def shipped(world: World, installed: Connection, kubectl: Kubectl) -> AsyncIterator[Shipped]:
    with ExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, shipped_name(installed))
        yield Shipped(world, installed, kubectl)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [each.getsockname()[1] for each in sockets]


async def test_every_replica_answers_and_a_renewal_refuses_nobody(shipped: Shipped) -> None:
    world, run = shipped.world, asyncio.to_thread
    ports = free_ports(2)
    await run(shipped.apply, ports[0])
    await shipped.until(lambda: "failed calling webhook" in shipped.applied("p", GOOD, "--dry-run=server")[1])
    async with election(world) as lease:
        replicas: list[OperatorProcess] = []
        for number, port in enumerate(ports):
            options = (f"--identity=replica-{number}", "--https-bind", f"127.0.0.1:{port}")
            replicas.append(world.operator(*options, lease=True))
        await asyncio.gather(*(each.start() for each in replicas))
        await lease.leader()
        for each in replicas:
            await each.until_metric(1, "curation_webhook_serving")
        await shipped.until(shipped.refuses)
        assert (await run(shipped.applied, "p", GOOD))[0] == 0
        managers = {entry["manager"] for entry in (await run(shipped.configuration))["metadata"]["managedFields"]}
        assert "curation-operator" in managers
        await run(shipped.ask_at, ports[1])
        await shipped.until(shipped.refuses)

        # One that ends in ten days, with the authority trusted.
        now = datetime.now(UTC)
        names = tuple(f"{NAME}.{shipped.namespace}.{suffix}" for suffix in ("svc", "svc.cluster.local"))
        soon = make(names, now - VALID + timedelta(days=10))
        await run(shipped.keep, Kept(soon, since=now - timedelta(days=80)))
        await shipped.until(lambda: shipped.kept().coming is not None and shipped.trusts(shipped.kept().bundle))
        assert (await run(shipped.kept)).shown == soon
        await shipped.until(shipped.refuses)

        failed, stop = list[str](), asyncio.Event()

        async def load() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                code, said = await run(shipped.applied, f"load-{number}", GOOD, "--dry-run=server")
                if code:
                    failed.append(said)

        loading = asyncio.create_task(load())
        coming = (await run(shipped.kept)).coming
        await run(_waited, shipped, timedelta(minutes=3))
        await shipped.until(lambda: shipped.kept().shown == coming)
        promoted = await run(shipped.kept)
        assert promoted.going == soon.authority
        # Every replica is to show the new one before the old authority goes: each looks twice a minute.
        for each in replicas:
            await until_it_shows(each, promoted)
        await run(_waited, shipped, timedelta(minutes=11))
        await shipped.until(lambda: not shipped.kept().going and shipped.trusts(shipped.kept().bundle))
        assert (await run(shipped.kept)).shown == coming
        await shipped.until(shipped.refuses)
        stop.set()
        await loading
        assert failed == []

        leader = await lease.leader()
        await leader.kill()
        left = next(number for number, each in enumerate(replicas) if each is not leader)
        await run(shipped.ask_at, ports[left])
        await shipped.until(shipped.refuses)


def _waited(shipped: Shipped, time: timedelta) -> None:
    """As if so much time had passed since the present step began."""
    kept = shipped.kept()
    shipped.keep(Kept(kept.shown, kept.coming, kept.going, datetime.now(UTC) - time))


async def until_it_shows(replica: OperatorProcess, kept: Kept) -> None:
    assert kept.shown is not None
    expiry = not_after(kept.shown.certificate)
    await replica.until_metric(expiry, "curation_webhook_certificate_expiry_timestamp_seconds")
