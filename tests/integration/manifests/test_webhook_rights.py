"""What the operator's account may do about webhooks: change caBundle of one object, and nothing more."""

import copy
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from testing.controlplane.connection import Connection
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from tests.harness.doors import COMPONENT, CONFIGURATIONS, SHIPPED, shipped_name
from tests.integration.api.objects import until

NAME = SHIPPED


@pytest.fixture
def configured(installed: Connection) -> Iterator[Connection]:
    """With the component's rights, and a configuration that matches no object of the other tests."""
    with shipped_name(installed):
        _apply(installed)
        yield installed


def _apply(installed: Connection) -> None:
    installed.kubectl("apply", "--server-side", "-f", str(COMPONENT / "webhook-ca-bundle.yaml"))
    installed.kubectl("apply", "--server-side", "-f", str(COMPONENT / "role.yaml"))
    made = yaml.safe_load((COMPONENT / "webhook.yaml").read_text())
    for webhook in made["webhooks"]:
        webhook["objectSelector"] = {"matchLabels": {"curation.test/nobody": "has-this"}}
    installed.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(made))


def patched(
    connection: Connection, name: str, body: Any, *, kind: str = "validatingwebhookconfiguration"
) -> tuple[int, str]:
    """What kubectl says to the operator's account, which sends a merge patch."""
    done = connection.kubectl(
        *("patch", kind, name, "--type=merge", f"--patch={json.dumps(body)}"),
        user=OPERATOR_USER,
        groups=OPERATOR_GROUPS,
        check=False,
    )
    return done.returncode, done.stderr


def test_the_operator_changes_the_authority_of_its_webhook_and_nothing_else(configured: Connection) -> None:
    def read() -> Any:
        return configured.request("GET", f"{CONFIGURATIONS}/{NAME}")[1]

    # The admission policy has effect some time after it was accepted.
    numbers = itertools.count()  # a change each time: what changes nothing is let through
    until(lambda: patched(configured, NAME, {"metadata": {"labels": {"probe": f"p{next(numbers)}"}}})[0] != 0)
    webhooks = read()["webhooks"]
    trusted = copy.deepcopy(webhooks)
    for each in trusted:
        each["clientConfig"]["caBundle"] = "LS0tLS1CRUdJTg=="
    code, said = patched(configured, NAME, {"webhooks": trusted})
    # What it says there is no certificate, which is the API server's own check, made after admission.
    assert code == 0 or "caBundle" in said, said

    def changed(change: Any) -> Any:
        found = copy.deepcopy(webhooks)
        change(found)
        return {"webhooks": found}

    secrets = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["secrets"]}
    more = {
        "a rule": changed(lambda w: w[0].update(rules=[secrets])),
        "one more rule": changed(lambda w: w[0]["rules"].append(secrets)),
        "another server": changed(lambda w: w[0].update(clientConfig={"url": "https://evil.example/"})),
        "another service": changed(lambda w: w[0]["clientConfig"]["service"].update(namespace="default")),
        "another path": changed(lambda w: w[0]["clientConfig"]["service"].update(path="/x")),
        "a failure policy": changed(lambda w: w[0].update(failurePolicy="Ignore")),
        "a match policy": changed(lambda w: w[0].update(matchPolicy="Exact")),
        "no match condition": changed(lambda w: w[0].update(matchConditions=[])),
        "another selector": changed(lambda w: w[0].update(objectSelector={})),
        "another namespace selector": changed(lambda w: w[0].update(namespaceSelector={"matchLabels": {"a": "b"}})),
        "a timeout": changed(lambda w: w[0].update(timeoutSeconds=30)),
        "one webhook less": changed(lambda w: w.pop()),
        "one webhook more": changed(lambda w: w.append({**w[0], "name": "more.curation.dev", "rules": [secrets]})),
        "the same webhook twice": changed(lambda w: w.__setitem__(1, {**w[0], "name": w[1]["name"]})),
        "a label": {"metadata": {"labels": {"a": "b"}}},
        "an annotation": {"metadata": {"annotations": {"a": "b"}}},
        "a finalizer": {"metadata": {"finalizers": ["a.example/b"]}},
    }
    before = read()["metadata"]["generation"]
    for what, body in more.items():
        code, said = patched(configured, NAME, body)
        assert code != 0, what
        assert "the operator's service account may change caBundle only" in said, f"{what}: {said}"
    assert read()["metadata"]["generation"] == before


def test_the_operator_makes_and_deletes_no_webhook_and_reads_no_other(configured: Connection) -> None:
    other = yaml.safe_load((COMPONENT / "webhook.yaml").read_text())
    other["metadata"]["name"] = "another"
    as_operator = {"user": OPERATOR_USER, "groups": OPERATOR_GROUPS, "check": False}
    for arguments in (
        ("create", "-f", "-"),
        ("delete", "validatingwebhookconfiguration", NAME),
        ("get", "validatingwebhookconfigurations"),
        ("get", "validatingwebhookconfiguration", "another"),
        ("get", "mutatingwebhookconfigurations"),
        ("get", "secrets", "-n", "curation-system"),
        ("get", "secret", "another", "-n", "curation-system"),
        ("create", "secret", "generic", "more", "-n", "curation-system"),
        ("delete", "secret", "curation-operator-webhook", "-n", "curation-system"),
    ):
        done = configured.kubectl(*arguments, input=json.dumps(other), **as_operator)  # type: ignore[arg-type]
        assert "orbidden" in done.stderr, f"{arguments}: {done.stderr}"
