"""What the process of a worker has of the operator, read as root: nothing that it was not told."""

import os
from pathlib import Path

import pytest

from tests.guests.wat import Script
from tests.unit.execution.conftest import Rig, ended
from tests.unit.workers.rigs import descriptors, environment, parent, worker

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists() or os.geteuid() != 0, reason="reads other processes in /proc as root"
)
SECRET = "a-value-of-the-operators-own-environment"


async def test_a_worker_has_no_environment_and_no_descriptor_of_the_operators(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERATORS_OWN", SECRET)
    held = tmp_path / "kubeconfig"
    held.write_text(SECRET)
    with held.open() as file:
        os.set_inheritable(file.fileno(), True)
        heard = rig.start(Script().call({"method": "POST", "url": rig.peer.url("/hold"), "body": "{}"}).ok({}))
        await rig.peer.reached("/hold")
        pid = await worker(rig)
        for each in (pid, parent(pid)):
            assert SECRET.encode() not in environment(each)
            assert str(held) not in descriptors(each)
            assert not any(name.endswith((".pem", ".crt", ".key", "token")) for name in descriptors(each))
            assert not in_memory(each, SECRET.encode())
        rig.peer.go_on.set()
        await ended(heard)


def in_memory(pid: int, text: bytes) -> bool:
    """Whether the text is in memory that the process can write to."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights = line.split()[:2]
            begin, end = (int(each, 16) for each in place.split("-"))
            if not rights.startswith("rw") or end - begin > 256 << 20:
                continue
            try:
                memory.seek(begin)
                if text in memory.read(end - begin):
                    return True
            except (OSError, ValueError, OverflowError):
                continue
    return False
