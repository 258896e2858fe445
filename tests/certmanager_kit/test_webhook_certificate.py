"""manifests/components/webhook-cert-manager with the real cert-manager: it makes the certificate, tells the API server
whom to trust, and renews it; a broken policy is refused all the while.

The kubelet's part, the files of the Secret in the pod, is played by the test.
"""

import asyncio
import base64
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing.certmanager.build import CERT_MANAGER, CRDS, PROGRAM
from testing.controlplane.connection import Connection
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER, install
from testing.controlplane.ports import free_port
from testing.controlplane.server import ControlPlane
from testing.operator_process import OperatorProcess
from tests.harness.doors import CONFIGURATIONS, SHIPPED
from tests.harness.doorway import BROKEN, GOOD, WHERE, policy

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "manifests"
SYSTEM = "curation-system"
TLS = "curation-operator-webhook-tls"
SECONDS = 180


@pytest.fixture
def certified() -> Iterator[Connection]:
    """A control plane with cert-manager, which is cluster-admin in it."""
    folder = CERT_MANAGER.folder(os.environ)
    if not folder.is_dir():
        pytest.skip("cert-manager is not built here: make certmanager")
    with ControlPlane() as server:
        connection = server.connection
        install(connection)
        connection.kubectl("apply", "--server-side", "-f", str(folder / CRDS))
        crds = [f"crd/{path.stem.split('_')[1]}.{path.stem.split('_')[0]}" for path in (folder / CRDS).glob("*.yaml")]
        connection.kubectl("wait", "--for=condition=Established", "--timeout=120s", *crds)
        log = connection.folder / "cert-manager.log"
        with log.open("wb") as said:
            running = subprocess.Popen(
                [str(folder / PROGRAM)], env=connection.environment(), stdout=said, stderr=subprocess.STDOUT
            )
        try:
            yield connection
            assert running.poll() is None, log.read_text()[-3000:]
        finally:
            running.terminate()
            running.wait(30)


class Installed:
    """The default overlay with the component; its Service leads to this machine."""

    def __init__(self, connection: Connection, folder: Path) -> None:
        self.connection = connection
        self.port = free_port()
        self.files = folder / "mounted"
        self.files.mkdir()
        self._folder = folder

    def apply(self) -> None:
        names = {"resources": ["overlays/default"], "components": ["components/webhook-cert-manager"]}
        kustomization = {
            what: [os.path.relpath(MANIFESTS / path, self._folder.resolve()) for path in paths]
            for what, paths in names.items()
        }
        (self._folder / "kustomization.yaml").write_text(json.dumps(kustomization))
        rendered = self.connection.kubectl("kustomize", str(self._folder)).stdout
        objects = [each for each in yaml.safe_load_all(rendered) if each]
        for each in objects:
            if each["kind"] == "Service" and each["metadata"]["name"] == "curation-operator-webhook":
                each["spec"] = {"type": "ExternalName", "externalName": "localhost"}
            if each["kind"] == "ValidatingWebhookConfiguration":
                for webhook in each["webhooks"]:
                    webhook["clientConfig"]["service"]["port"] = self.port
            if each["kind"] == "Deployment":
                (container,) = (
                    one for one in each["spec"]["template"]["spec"]["containers"] if one["name"] == "operator"
                )
                self.arguments = container["args"]
                (self.mount,) = (
                    one["mountPath"] for one in container["volumeMounts"] if one["name"] == "webhook-certificate"
                )
        text = yaml.safe_dump_all(objects)
        self.connection.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text)

    def secret(self) -> dict[str, bytes]:
        status, found = self.connection.request("GET", f"/api/v1/namespaces/{SYSTEM}/secrets/{TLS}")
        data: dict[str, str] = (found.get("data") or {}) if status == 200 else {}
        return {name: base64.b64decode(value) for name, value in data.items()}

    def mounted(self) -> bytes:
        """Let the pod have the files of the Secret as it is now; the certificate."""
        data = self.secret()
        for name, content in data.items():
            scratch = self.files / f".{name}"
            scratch.write_bytes(content)
            scratch.replace(self.files / name)
        return data["tls.crt"]

    def options(self) -> list[str]:
        """What the Deployment says of the webhook, but for the folder and the port."""
        found = [each for each in self.arguments if each.startswith("--https-")]
        assert found[0] == "--https-bind=:9443"
        return [
            f"--https-bind=127.0.0.1:{self.port}",
            *(each.replace(self.mount, str(self.files)) for each in found[1:]),
        ]

    def trusted(self) -> set[bytes]:
        _, found = self.connection.request("GET", f"{CONFIGURATIONS}/{SHIPPED}")
        return {base64.b64decode(each["clientConfig"].get("caBundle", "")) for each in found["webhooks"]}

    def applied(self, cedar: str) -> str:
        document = policy("p", cedar, namespace="default", kind="ClusterCurationPolicy")
        done = self.connection.kubectl("apply", "--dry-run=server", "-f", "-", input=json.dumps(document), check=False)
        return done.stdout + done.stderr

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(SECONDS):
            while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.2)


@pytest.fixture
async def operators(certified: Connection) -> AsyncIterator[Callable[[list[str]], OperatorProcess]]:
    made: list[OperatorProcess] = []

    def make(options: list[str]) -> OperatorProcess:
        environment = certified.environment(OPERATOR_USER, OPERATOR_GROUPS)
        common = ("--no-lease", "--http-bind", "127.0.0.1:0", "--log-format", "json")
        made.append(OperatorProcess(environment, (*common, *options)))
        return made[-1]

    yield make
    for each in made:
        await each.kill()


async def test_cert_manager_makes_the_certificate_and_renews_it_while_policies_are_applied(
    certified: Connection, operators: Callable[[list[str]], OperatorProcess], tmp_path: Path
) -> None:
    installed, run = Installed(certified, tmp_path), asyncio.to_thread
    await run(installed.apply)
    await installed.until(lambda: "tls.crt" in installed.secret())
    await installed.until(lambda: installed.trusted() == {installed.secret()["ca.crt"]})
    first = await run(installed.mounted)
    operator = operators(installed.options())
    await operator.start()
    await installed.until(lambda: WHERE in installed.applied(BROKEN))
    assert "(server dry run)" in await run(installed.applied, GOOD)
    await operator.until_metric(1, "curation_webhook_reached")

    failed, stop = list[str](), asyncio.Event()

    async def load() -> None:
        while not stop.is_set():
            said = await run(installed.applied, GOOD)
            if "(server dry run)" not in said:
                failed.append(said)

    loading = asyncio.create_task(load())
    # A certificate whose Secret is gone is made anew, as one that ends soon is.
    await run(certified.kubectl, "delete", "secret", TLS, "-n", SYSTEM)
    await installed.until(lambda: installed.secret().get("tls.crt") not in (None, first))
    await run(installed.mounted)
    await operator.until_metric(1, "curation_file_renewals_total", source="https-certificate", result="loaded")
    await installed.until(lambda: WHERE in installed.applied(BROKEN))
    stop.set()
    await loading
    assert failed == [], "the authority is the same, so the old one and the new one are both trusted"
    await operator.stop()
