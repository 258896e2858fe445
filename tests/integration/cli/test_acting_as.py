"""The plugin acts as whom kubectl would act: an approval is decided, and recorded, as the user of --as or of `as`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testing.controlplane.connection import Kubectl
from tests.integration.cli.running import Objects, Plugin, request

APPROVALS = "curationapprovals"


def kubeconfig(plugin: Plugin, path: Path, **user: Any) -> dict[str, str]:
    """An environment with the administrator's kubeconfig, and these fields in its user; None takes one away."""
    environment = plugin.environment()
    document = json.loads(Path(environment["KUBECONFIG"]).read_text())
    entry = document["users"][0]["user"]
    entry.update(user)
    document["users"][0]["user"] = {name: value for name, value in entry.items() if value is not None}
    path.write_text(json.dumps(document))
    return {**environment, "KUBECONFIG": str(path)}


def bind(kubectl: Kubectl, role: str, user: str) -> None:
    kubectl("create", "rolebinding", f"{user}-{role}", f"--clusterrole={role}", f"--user={user}")


@pytest.mark.parametrize("where", ["before the verb", "after the verb", "in the kubeconfig"])
def test_a_decision_is_that_of_the_one_who_is_impersonated(
    plugin: Plugin, objects: Objects, kubectl: Kubectl, tmp_path: Path, where: str
) -> None:
    bind(kubectl, "curation-approver", "bob")
    bind(kubectl, "curation-viewer", "bob")
    name = objects.approval(request())
    match where:
        case "before the verb":
            plugin("--as", "bob", "approve", name)
        case "after the verb":
            plugin("approve", name, "--as=bob")
        case _:
            plugin("approve", name, environment=kubeconfig(plugin, tmp_path / "k", **{"as": "bob"}))
    assert objects.get(APPROVALS, name)["spec"]["decidedBy"] == "bob"


def test_what_the_one_who_is_impersonated_may_not_do_is_refused(
    plugin: Plugin, objects: Objects, tmp_path: Path
) -> None:
    name = objects.approval(request())
    said = plugin("approve", name, "--as", "bob", "--as-group", "people", code=1).stderr
    assert 'User "bob" cannot' in said
    said = plugin("approve", name, environment=kubeconfig(plugin, tmp_path / "k", **{"as": "eve"}), code=1).stderr
    assert 'User "eve" cannot' in said
    assert objects.get(APPROVALS, name)["spec"]["decision"] == "Pending"


def test_groups_without_a_user_are_refused_by_name(plugin: Plugin) -> None:
    assert "as-groups" in plugin("why", "build", "--as-group", "people", code=1).stderr


def test_an_exec_plugin_that_is_missing_or_fails_is_an_error_with_its_hint(plugin: Plugin, tmp_path: Path) -> None:
    nobody = {"client-certificate-data": None, "client-key-data": None}
    program = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "./login",
        "interactiveMode": "Never",
        "installHint": "see https://login.example.test",
    }
    environment = kubeconfig(plugin, tmp_path / "k", **nobody, exec=program)
    said = plugin("why", "build", environment=environment, code=1).stderr
    assert "exec plugin" in said
    assert "was not found" in said
    assert "see https://login.example.test" in said
    assert "anonymous" not in said
    (tmp_path / "login").write_text("#!/bin/sh\necho no network >&2\nexit 4\n")
    (tmp_path / "login").chmod(0o700)
    said = plugin("why", "build", environment=environment, code=1).stderr
    assert "no network" in said
    assert "ended with code 4" in said
    assert "see https://login.example.test" in said


def test_a_field_that_cannot_be_honoured_is_refused_by_name(plugin: Plugin, tmp_path: Path) -> None:
    said = plugin("why", "build", environment=kubeconfig(plugin, tmp_path / "k", impersonate="bob"), code=1).stderr
    assert "impersonate: is not a field that Kubernetes has" in said


@pytest.mark.parametrize("timeout", ["30s", "30", "1m30s", "0", "2.5"])
def test_a_request_timeout_is_said_as_for_kubectl(plugin: Plugin, objects: Objects, timeout: str) -> None:
    objects.job()
    assert "build" in plugin("why", "build", "--request-timeout", timeout).stdout


@pytest.mark.parametrize("timeout", ["-1", "-5s", "soon", "5 s", "1d"])
def test_a_request_timeout_that_is_none_is_refused(plugin: Plugin, timeout: str) -> None:
    assert "30s or 1m30s" in plugin("why", "build", f"--request-timeout={timeout}", code=2).stderr


def test_flags_take_true_and_false_as_for_kubectl(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    for true in ("--insecure-skip-tls-verify", "--insecure-skip-tls-verify=true"):
        plugin("why", true, "--tls-server-name=other", "build")
    for false in ((), ("--insecure-skip-tls-verify=false",)):
        said = plugin("why", "build", "--tls-server-name=other", *false, code=1).stderr
        assert "certificate" in said.lower() or "hostname" in said.lower()
    assert "true or false" in plugin("why", "build", "--insecure-skip-tls-verify=perhaps", code=2).stderr
    plugin("--disable-compression=true", "why", "build")


def test_the_groups_help_shows_every_option_and_a_verbs_only_those_of_every_day(plugin: Plugin) -> None:
    whole, verb = plugin("--help").stdout, plugin("why", "--help").stdout
    for option in ("--as-group", "--token", "--server", "--insecure-skip-tls-verify"):
        assert option in whole
        assert option not in verb
    assert "--context" in verb
