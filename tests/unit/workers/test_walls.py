"""What a worker has of the operator, and a guest host of its worker, read as root: nothing that it was not told."""

import os
import platform
import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from curation.execution.origin_credentials import OriginCredential
from tests.guests.wat import Script
from tests.unit.execution.conftest import NAMESPACE, Heard, Rig, ended
from tests.unit.workers.rigs import descriptors, environment, guest_host, parent, worker

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


class Markers(NamedTuple):
    """Texts of one namespace, none of which is anywhere else."""

    context: str
    credential: str
    policy: str

    @classmethod
    def of(cls, namespace: str) -> "Markers":
        # Of two halves: else this process's own code would be where they are found.
        return cls(*(f"marker-{part}-{''.join(reversed(namespace * 4))}" for part in ("context", "secret", "policy")))


async def waiting(rig: Rig, namespace: str, number: int) -> Heard:
    """A run of this namespace that waits in a call with its credential, and has its markers."""
    markers = Markers.of(namespace)
    assert rig.book.put_policy(namespace, "p", f"permit (principal, action, resource); // {markers.policy}").valid
    credential = OriginCredential("http", "127.0.0.1", rig.peer.port, "Authorization", f"Bearer {markers.credential}")
    script = Script().call({"method": "POST", "url": rig.peer.url("/hold"), "body": "{}"}).ok({})
    request = rig.request(script, credentials=(credential,))
    heard = rig.ask(replace(request, namespace=namespace, input={"text": markers.context}))
    await rig.peer.reached("/hold", number)
    return heard


async def test_a_guest_host_has_its_runs_contexts_and_no_credential_policy_network_or_run_of_another_namespace(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERATORS_OWN", SECRET)
    namespaces = (NAMESPACE, "elsewhere")
    runs = [await waiting(rig, namespace, number + 1) for number, namespace in enumerate(namespaces)]
    assert {seen.headers["Authorization"] for seen in rig.peer.seen} == {
        f"Bearer {Markers.of(namespace).credential}" for namespace in namespaces
    }, "they have left with their calls"
    for namespace, other in (namespaces, tuple(reversed(namespaces))):
        pid, own, theirs = await guest_host(rig, namespace), Markers.of(namespace), Markers.of(other)
        secret = {SECRET, own.credential, own.policy, *theirs}
        assert found(pid, {*secret, own.context}) == {own.context}
        assert found(await worker(rig, namespace), set(own)) == set(own), "which are there to be found"
        assert SECRET.encode() not in environment(pid)
        opened = {name.partition(":")[0] for name in every_descriptor(pid)}
        assert opened == {"/dev/null", "/memfd", "pipe", "socket"}, "stdin, its module, stderr, its channel"
        assert len(sockets(pid)) == 1
        assert sockets(pid) <= unix_sockets()
        assert not re.search(r"pydantic|cedar|aiohttp|uvloop|ssl|asyncio", mapped(pid))
        if platform.machine() in ("x86_64", "aarch64"):
            assert "\nSeccomp:\t2\n" in status(pid), "it has given its rights up"
    rig.peer.go_on.set()
    for run in runs:
        await ended(run)


def every_descriptor(pid: int) -> list[str]:
    return [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]


def sockets(pid: int) -> set[str]:
    return {name[len("socket:[") : -1] for name in every_descriptor(pid) if name.startswith("socket:")}


def unix_sockets() -> set[str]:
    return {line.split()[6] for line in Path("/proc/net/unix").read_text().splitlines()[1:]}


def mapped(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def status(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


def found(pid: int, texts: set[str]) -> set[str]:
    """Which of the texts are in memory that the process can read, as UTF-8 or as Python keeps wide text."""
    left = {text: (text.encode(), text.encode("utf-16-le"), text.encode("utf-32-le")) for text in texts}
    seen = set()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in mapped(pid).splitlines():
            place, rights = line.split()[:2]
            begin, end = (int(each, 16) for each in place.split("-"))
            if not rights.startswith("r") or end > 1 << 63:  # what the kernel shows to all
                continue
            try:
                memory.seek(begin)
                content = memory.read(end - begin)
            except OSError:
                continue
            seen |= {text for text, forms in left.items() if any(form in content for form in forms)}
    return seen


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
