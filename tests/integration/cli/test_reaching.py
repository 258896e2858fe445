"""Errors of the way to the API server, and the choice of the cluster, which must be kubectl's own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path

from testing.controlplane.connection import Connection
from tests.faults.proxy import FaultProxy, answered
from tests.integration.cli.running import Objects, Plugin


def kubeconfig(folder: Path, name: str, server: str, namespace: str = "default", current: bool = True) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": {}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        **({"current-context": name} if current else {}),
    }
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(document))
    return path


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def outside(tmp_path: Path, **more: str) -> dict[str, str]:
    """An environment without any cluster in it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("KUBE", "CURATION"))}
    return {**kept, "HOME": str(tmp_path), **more}


def test_without_a_kubeconfig_the_remedy_is_named(plugin: Plugin, tmp_path: Path) -> None:
    said = plugin("why", "build", environment=outside(tmp_path), code=1).stderr
    assert said.startswith("error: No cluster to talk to")
    assert "KUBECONFIG" in said


def test_a_kubeconfig_that_is_missing_or_broken_is_named(plugin: Plugin, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    said = plugin("why", "build", "--kubeconfig", str(missing), environment=outside(tmp_path), code=1).stderr
    assert f"{missing} does not exist" in said
    broken = tmp_path / "broken"
    broken.write_text("a: [")
    said = plugin("why", "build", "--kubeconfig", str(broken), environment=outside(tmp_path), code=1).stderr
    assert f"kubeconfig {broken}" in said


def test_an_unknown_context_is_named_with_the_way_to_find_a_known_one(plugin: Plugin) -> None:
    said = plugin("why", "build", "--context", "prod", code=1).stderr
    assert "prod" in said
    assert "kubectl config get-contexts" in said


def test_a_server_that_is_away_is_named(plugin: Plugin, tmp_path: Path) -> None:
    server = closed_port()
    environment = outside(tmp_path, KUBECONFIG=str(kubeconfig(tmp_path, "gone", server)))
    said = plugin("why", "build", environment=environment, code=1).stderr
    assert f"error: the API server {server} gave no answer" in said
    assert len(said.splitlines()) == 1


async def test_of_several_kubeconfigs_the_first_current_context_counts_as_for_kubectl(
    installed: Connection, plugin: Plugin, objects: Objects, tmp_path: Path
) -> None:
    objects.job()
    async with FaultProxy(installed.kubeconfig()) as proxy:
        files = (
            kubeconfig(tmp_path, "nameless", closed_port(), current=False),
            kubeconfig(tmp_path, "here", proxy.url, plugin.namespace),
            kubeconfig(tmp_path, "elsewhere", closed_port()),
        )
        environment = outside(tmp_path, KUBECONFIG=os.pathsep.join(map(str, files)))
        result = await asyncio.to_thread(plugin, "why", "build", environment=environment)
        assert f"{plugin.namespace}/build" in result.stdout
        away = await asyncio.to_thread(plugin, "why", "build", "--context=elsewhere", environment=environment, code=1)
        assert "gave no answer" in away.stderr


async def test_a_cluster_without_the_crds_is_distinguished_from_a_missing_job(
    installed: Connection, plugin: Plugin, tmp_path: Path
) -> None:
    async with FaultProxy(installed.kubeconfig()) as proxy:
        # What an API server answers for a path that it does not serve.
        proxy.inject(answered(404, path="/apis/curation.dev/", times=None, body="404 page not found\n"))
        environment = outside(tmp_path, KUBECONFIG=str(kubeconfig(tmp_path, "bare", proxy.url)))
        result = await asyncio.to_thread(plugin, "why", "build", environment=environment, code=1)
        assert "does not know curationjobs.curation.dev; install the CRDs" in result.stderr


def test_a_stranger_learns_what_the_server_refused(plugin: Plugin, objects: Objects) -> None:
    objects.job()
    said = plugin("why", "build", user="eve", groups=("nobody",), code=1).stderr
    assert said.startswith(f"error: you may not get CurationJob {objects.namespace}/build:")
