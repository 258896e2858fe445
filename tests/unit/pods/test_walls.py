"""What a guest host in a pod has of its pod, read as root: no token, no name of the door, no network."""

import os
import platform
import re
import signal
from pathlib import Path

import pytest

from curation.isolation import landlock
from tests.guests.wat import Script
from tests.harness.processes import children
from tests.unit.execution.conformance import DONE, held
from tests.unit.execution.conftest import ended, until
from tests.unit.pods.rigs import PodRig
from tests.unit.workers.test_walls import every_descriptor, found, mapped, sockets, status, unix_sockets

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists() or os.geteuid() != 0, reason="reads other processes in /proc as root"
)


async def test_a_guest_host_in_a_pod_has_its_module_and_its_context_and_nothing_of_the_carriers(rig: PodRig) -> None:
    heard = rig.start(held(rig).ok(DONE))
    await rig.peer.reached("/hold")
    pod = rig.pod(heard)
    assert pod.process is not None
    (guest_host,) = children(pod.process.pid)
    secret = {pod.token, heard.request.execution}
    assert found(guest_host, secret) == set()
    assert found(pod.process.pid, secret) == secret, "which are there to be found"
    assert environment(guest_host).keys() <= {"MALLOC_ARENA_MAX", "LD_LIBRARY_PATH"}
    opened = {name.partition(":")[0] for name in every_descriptor(guest_host)}
    assert opened == {"/dev/null", "/memfd", "pipe", "socket"}, "stdin, its module, stderr, its channel"
    assert len(sockets(guest_host)) == 1
    assert sockets(guest_host) <= unix_sockets()
    assert not re.search(r"pydantic|cedar|aiohttp|uvloop|ssl|asyncio", mapped(guest_host))
    if platform.machine() in ("x86_64", "aarch64"):
        assert "\nSeccomp:\t2\n" in status(guest_host)
    rig.peer.go_on.set()
    await ended(heard)


def environment(pid: int) -> dict[str, str]:
    read = Path(f"/proc/{pid}/environ").read_bytes().decode()
    return dict(each.split("=", 1) for each in read.split("\0") if each)


async def test_a_carrier_gains_no_privileges(rig: PodRig) -> None:
    heard = rig.start(held(rig).ok(DONE))
    await rig.peer.reached("/hold")
    process = rig.pod(heard).process
    assert process is not None
    assert "\nNoNewPrivs:\t1\n" in status(process.pid)
    rig.peer.go_on.set()
    await ended(heard)


@pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
def test_a_process_that_is_confined_as_a_guest_host_opens_no_token(tmp_path: Path) -> None:
    (token := tmp_path / "token").write_text("secret")
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            from curation.guests.confinement import confine
            from curation.isolation.hardening import gain_no_privileges

            gain_no_privileges()
            assert confine()
            try:
                token.read_text()
            except PermissionError:
                code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


async def test_a_pod_that_is_told_to_stop_leaves_no_process(rig: PodRig) -> None:
    heard = rig.start(held(rig).ok(DONE))
    await rig.peer.reached("/hold")
    pod = rig.pod(heard)
    assert pod.process is not None
    (guest_host,) = children(pod.process.pid)
    pod.process.send_signal(signal.SIGTERM)
    assert await pod.exited() == 128 + signal.SIGTERM
    await until(lambda: not Path(f"/proc/{guest_host}").exists())
    rig.executor.lose(heard.request.execution, "its pod was drained")


async def test_a_module_that_logs_and_fails_in_a_pod_is_reported_as_in_a_worker(rig: PodRig) -> None:
    report = await rig.run(Script().log("hello").error({"message": "no"}))
    assert report.log == "info: hello"
    assert "no" in str(report.result)
