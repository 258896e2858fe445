"""Two people, or a person and the operator, write at once: the plugin's write is held on its way to the API server."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from testing.controlplane.connection import Connection
from tests.faults.proxy import FaultProxy, held_request, lost_answer
from tests.integration.cli.running import SECONDS, Objects, Plugin, request

Finished = subprocess.CompletedProcess[str]


async def meanwhile(
    connection: Connection, plugin: Plugin, tmp_path: Path, args: tuple[str, ...], act: Callable[[], object]
) -> tuple[Finished, FaultProxy]:
    """Run the plugin, and ``act`` while its first PATCH is on its way."""
    async with FaultProxy(connection.kubeconfig()) as proxy:
        held = proxy.inject(held_request("PATCH"))
        environment = {**os.environ, "KUBECONFIG": str(proxy.kubeconfig(tmp_path))}
        arguments = (*args, "-n", plugin.namespace)
        running = asyncio.create_task(asyncio.to_thread(plugin, *arguments, environment=environment, code=None))
        async with asyncio.timeout(SECONDS):
            await held.reached.wait()
            await asyncio.to_thread(act)
            held.release()
            return await running, proxy


def patches(proxy: FaultProxy) -> list[int | None]:
    return [exchange.status for exchange in proxy.exchanges if exchange.method == "PATCH"]


async def test_a_decision_that_somebody_else_made_meanwhile_stays_and_is_shown(
    installed: Connection, plugin: Plugin, objects: Objects, tmp_path: Path
) -> None:
    name = objects.approval(request())

    def deny() -> None:
        objects.patch("curationapprovals", name, {"spec": {"decision": "Denied"}})

    result, proxy = await meanwhile(installed, plugin, tmp_path, ("approve", name), deny)
    assert result.returncode == 1
    assert "changed while you decided: it is now Denied by admin" in result.stderr
    assert patches(proxy) == [409]
    assert objects.get("curationapprovals", name)["spec"]["decision"] == "Denied"


async def test_a_status_that_the_operator_wrote_meanwhile_does_not_stop_a_decision(
    installed: Connection, plugin: Plugin, objects: Objects, tmp_path: Path
) -> None:
    name = objects.approval(request(), ["a"])

    def count() -> None:
        objects.status("curationapprovals", name, waiting=2, jobs=["a", "b"])

    result, proxy = await meanwhile(installed, plugin, tmp_path, ("approve", name), count)
    assert result.returncode == 0, result.stderr
    assert patches(proxy) == [409, 200]
    assert "2 jobs: a, b" in result.stdout
    assert objects.get("curationapprovals", name)["spec"]["decision"] == "Approved"


async def test_a_field_that_git_applied_meanwhile_is_not_overwritten(
    installed: Connection, plugin: Plugin, objects: Objects, tmp_path: Path
) -> None:
    objects.job()
    manifest = f"""
apiVersion: curation.dev/v1alpha1
kind: CurationJob
metadata: {{name: build, namespace: {objects.namespace}}}
spec: {{moduleRef: {{name: build-session-message}}, suspend: false}}
"""

    def apply() -> None:
        options = ("--server-side", "--force-conflicts", "--field-manager=flux", "-f", "-")
        installed.kubectl("apply", *options, input=manifest)

    result, proxy = await meanwhile(installed, plugin, tmp_path, ("suspend", "build"), apply)
    assert result.returncode == 1
    assert "spec.suspend of CurationJob" in result.stderr
    assert "'flux' (server-side apply)" in result.stderr
    assert patches(proxy) == [409]
    assert objects.get("curationjobs", "build")["spec"]["suspend"] is False


async def test_a_rerun_goes_on_over_the_operators_status_writes(
    installed: Connection, plugin: Plugin, objects: Objects, tmp_path: Path
) -> None:
    objects.job()

    def write() -> None:
        objects.status("curationjobs", "build", phase="Queued", reason="WaitingForSlot")

    result, proxy = await meanwhile(installed, plugin, tmp_path, ("rerun", "build"), write)
    assert result.returncode == 0, result.stderr
    assert patches(proxy) == [409, 200]
    assert objects.get("curationjobs", "build")["spec"]["rerun"]


async def test_a_lost_answer_is_reported_and_the_write_is_not_repeated(
    installed: Connection, plugin: Plugin, objects: Objects, tmp_path: Path
) -> None:
    name = objects.approval(request())
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(lost_answer("PATCH"))
        environment = {**os.environ, "KUBECONFIG": str(proxy.kubeconfig(tmp_path))}
        arguments = ("deny", name, "-n", plugin.namespace)
        result = await asyncio.to_thread(plugin, *arguments, environment=environment, code=1)
        assert "may or may not be done" in result.stderr
        assert patches(proxy) == [200]
