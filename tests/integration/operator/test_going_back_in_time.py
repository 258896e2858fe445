"""etcd is restored, or a CRD removed, under an operator that runs: it says so, and ends, so that it is started again.

Before, everything was healthy then, and nothing worked: a watch that continues from the future delivers nothing.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from testing.controlplane import namespaces
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from testing.controlplane.server import ControlPlane
from testing.operator_process import OperatorProcess
from tests.harness import manifests

SECONDS = 120.0


@asynccontextmanager
async def operator(server: ControlPlane, *arguments: str) -> AsyncIterator[OperatorProcess]:
    """An operator as its service account, ready."""
    environment = server.connection.environment(OPERATOR_USER, OPERATOR_GROUPS)
    options = ("--http-bind", "127.0.0.1:0", "--log-format", "json", *arguments)
    made = OperatorProcess(environment, options)
    try:
        await made.start()
        yield made
    finally:
        await made.kill()


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until it holds."""
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                if await asyncio.to_thread(condition):
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"waited in vain until {what}") from None


async def create_job(server: ControlPlane, namespace: str, name: str) -> None:
    """A job whose module does not exist: it stays Queued. A server that has just started may not serve the kind yet."""
    document = json.dumps(manifests.job(name, "http://127.0.0.1:1"))

    def created() -> bool:
        return server.kubectl("apply", "-n", namespace, "-f", "-", input=document, check=False).returncode == 0

    await until(created, f"{name} is created")


def phase(server: ControlPlane, namespace: str, name: str) -> str:
    """Its phase; empty until an operator has seen it."""
    jsonpath = "jsonpath={.status.phase}"
    return server.kubectl("get", "curationjob", "-n", namespace, name, "-o", jsonpath, check=False).stdout


def has_job(server: ControlPlane, namespace: str, name: str) -> bool:
    """Whether the server knows it."""
    return server.kubectl("get", "curationjob", "-n", namespace, name, check=False).returncode == 0


def has_no_traceback(process: OperatorProcess) -> bool:
    """Whether its log has none."""
    return not any("Traceback" in f"{line.get('message')}{line.get('exc_info')}" for line in process.log)


async def test_after_a_restore_of_etcd_it_says_that_the_server_went_back_in_time_and_its_next_start_works(
    private_control_plane: ControlPlane,
) -> None:
    """Without a lease: with one, a restore that takes longer than the lease ends it too, as one that lost it."""
    server = private_control_plane
    namespace = namespaces.create(server.connection, "back in time")
    await create_job(server, namespace, "before")
    await asyncio.to_thread(server.back_up)
    async with operator(server, "-n", namespace, "--no-lease") as process:
        for number in range(5):
            await create_job(server, namespace, f"lost-{number}")
        await until(lambda: phase(server, namespace, "lost-4") == "Queued", "jobs are seen after the backup")
        await asyncio.to_thread(server.restore)
        assert not has_job(server, namespace, "lost-4")

        assert await process.exit_code(SECONDS) == 1, process.text()
        (line,) = process.logged("the API server has gone back in time")
        assert line["level"] == "CRITICAL"
        assert has_no_traceback(process), process.text()
    async with operator(server, "-n", namespace, "--no-lease") as process:
        await until(lambda: phase(server, namespace, "before") == "Queued", "the next start works")
        await process.stop()


async def test_a_restart_of_the_servers_on_the_same_data_ends_nothing(private_control_plane: ControlPlane) -> None:
    server = private_control_plane
    namespace = namespaces.create(server.connection, "same data")
    async with operator(server, "-n", namespace, "--no-lease") as process:
        await create_job(server, namespace, "before")
        await until(lambda: phase(server, namespace, "before") == "Queued", "a job is seen")
        await asyncio.to_thread(server.back_up)  # which stops both, and starts them again
        await create_job(server, namespace, "after")
        await until(lambda: phase(server, namespace, "after") == "Queued", "a job is seen after the restarts")
        assert process.running
        assert not process.logged("back in time")
        await process.stop()


async def test_a_crd_that_disappears_ends_it_with_a_sentence_that_says_what_to_install(
    private_control_plane: ControlPlane,
) -> None:
    server = private_control_plane
    namespace = namespaces.create(server.connection, "no crd")
    async with operator(server, "-n", namespace, "--no-lease") as process:
        await create_job(server, namespace, "a")
        await until(lambda: phase(server, namespace, "a") == "Queued", "a job is seen")
        server.kubectl("delete", "crd", "curationmodules.curation.dev")
        assert await process.exit_code(SECONDS) == 1, process.text()
        assert len(process.logged("curationmodules.curation.dev any more: the CRD was removed")) == 1
        assert process.logged("curation-operator crds | kubectl apply")
        assert has_no_traceback(process), process.text()
