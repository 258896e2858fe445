"""The shipped webhook configuration, pointed at an operator on this machine, for the objects of one test alone."""

import base64
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from testing.controlplane.connection import Connection

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "manifests" / "components" / "webhook" / "webhook.yaml"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
SHIPPED = "curation-operator"
COMPONENT = MANIFEST.parent
LABEL = "curation.test/door"


def configuration(name: str, namespace: str, url: str, ca: bytes) -> Any:
    """The shipped one. What is namespaced must be in this namespace, what is not must have the label with its name."""
    made = yaml.safe_load(MANIFEST.read_text())
    made["metadata"]["name"] = name
    entries = []
    for webhook in made["webhooks"]:
        webhook["clientConfig"] = {"url": f"{url}/review", "caBundle": base64.b64encode(ca).decode()}
        inside = {**webhook, "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
        inside["rules"] = [{**rule, "scope": "Namespaced"} for rule in webhook["rules"]]
        outside = {
            **webhook,
            "name": f"cluster.{webhook['name']}",
            "objectSelector": {"matchLabels": {LABEL: namespace}},
        }
        outside["rules"] = [{**rule, "scope": "Cluster"} for rule in webhook["rules"]]
        entries += [inside, outside]
    made["webhooks"] = entries
    return made


@contextmanager
def shipped_name(connection: Connection) -> Iterator[None]:
    """Hold the name of the shipped configuration, which one test at a time may use; it is gone at the end."""
    with (connection.folder / "webhook.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            connection.request("DELETE", f"{CONFIGURATIONS}/{SHIPPED}")


class Door:
    """A webhook configuration in a cluster, which is to be closed at the end."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self.connection = connection
        self.namespace = namespace
        self.name = f"door-{namespace}"

    def open(self, url: str, ca: bytes) -> None:
        """Let the API server ask this URL, trusting this authority, from now on."""
        self.close()
        status, answer = self.connection.request(
            "POST", CONFIGURATIONS, configuration(self.name, self.namespace, url, ca)
        )
        assert status == 201, answer

    def close(self) -> None:
        """Take it away."""
        self.connection.request("DELETE", f"{CONFIGURATIONS}/{self.name}")
