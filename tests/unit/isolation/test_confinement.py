"""What a process can still do that has given its rights up: compute, in threads, and talk on what is open."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from curation.isolation import landlock, seccomp
from curation.isolation.spawn import empty_environment, isolated_command

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"), reason="of these kernels"
)

_TRY = """
import json, sys
told, sys.path[:] = json.loads(sys.argv[1]), sys.argv[2:]
import ctypes, mmap, os, queue, resource, signal, socket, threading
from curation.isolation import landlock, seccomp
from curation.isolation.hardening import gain_no_privileges
gain_no_privileges()
one, other = socket.socketpair()
libc = ctypes.CDLL(None, use_errno=True)
if told["wall"] == "seccomp":
    assert seccomp.confine()
elif told["wall"] == "guest host":
    from curation.guests.confinement import confine
    assert confine() == bool(landlock.version())
else:
    assert landlock.confine([told["readable"]])

def fork():
    if os.fork() == 0:
        os._exit(0)

def thread():
    got = queue.SimpleQueue()
    threading.Thread(target=lambda: got.put(1)).start()
    return got.get()

def talk():
    one.sendmsg([b"x"])
    return other.recvmsg(10, 100)[0].decode()

def executable():
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()

def in_memory():
    descriptor = os.memfd_create("x")
    os.write(descriptor, b"x")
    return len(open(f"/proc/self/fd/{descriptor}", "rb").read())

def called(number):
    def call():
        if libc.syscall(number, -1, 0, 0, 0, 0, 0) < 0:
            raise OSError(ctypes.get_errno(), "call")
    return call

tries = {
    "socket": lambda: socket.socket(), "pair": lambda: socket.socketpair(), "fork": fork,
    "execute": lambda: os.execv("/bin/true", ["true"]), "kill": lambda: os.kill(os.getppid(), 0),
    "write": lambda: open(told["file"], "w"), "append": lambda: open(told["file"], "a"),
    "make": lambda: open(told["file"] + "2", "x"), "unlink": lambda: os.unlink(told["file"]),
    "folder": lambda: os.mkdir(told["file"] + "3"), "mode": lambda: os.chmod(told["file"], 0o777),
    # Trap: where it may, it does: so this changes nothing.
    "nice of others": lambda: os.setpriority(
        os.PRIO_PROCESS, os.getppid(), os.getpriority(os.PRIO_PROCESS, os.getppid())
    ),
    "limit of others": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE),
    "own nice": lambda: os.setpriority(os.PRIO_PROCESS, 0, 19),
    "own limit": lambda: resource.getrlimit(resource.RLIMIT_CPU)[0] == -1,
    "read": lambda: open(told["file"]).read(), "read code": lambda: len(open(os.__file__).read()) > 0,
    "thread": thread, "talk": talk, "executable memory": executable, "file in memory": in_memory,
    "own signal": lambda: signal.pthread_kill(threading.get_ident(), 0),
    **{str(number): called(number) for number in told["numbers"]},
}
result = {}
for name, each in tries.items():
    try:
        result[name] = each()
    except OSError as error:
        result[name] = f"errno {error.errno}"
    result[name] = result[name] if isinstance(result[name], (str, int, bool)) else None
print(json.dumps(result))
"""
DENIED = "errno 1"


def tried(tmp_path: Path, wall: str) -> dict[str, Any]:
    file = tmp_path / "file"
    file.write_text("content")
    column = 0 if platform.machine() == "x86_64" else 1
    numbers = [each[column] for each in seccomp._DENIED.values() if each[column] >= 0] if wall == "seccomp" else []
    told = {"wall": wall, "file": str(file), "readable": str(Path(json.__file__).parents[1]), "numbers": numbers}
    command = isolated_command(_TRY, json.dumps(told))
    done = subprocess.run(command, env=empty_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert file.read_text() == "content"
    read: dict[str, Any] = json.loads(done.stdout)
    return read


CAN = {
    "thread": 1,
    "talk": "x",
    "executable memory": None,
    "file in memory": 1,
    "own nice": None,
    "own limit": True,
    "own signal": None,
}


def test_with_seccomp_it_makes_no_socket_starts_nothing_writes_nothing_and_touches_no_other_process(
    tmp_path: Path,
) -> None:
    result = tried(tmp_path, "seccomp")
    can = {name: result.pop(name) for name in (*CAN, "read", "read code")}
    assert can == CAN | {"read": "content", "read code": True}
    assert len(result) > 100
    assert {name: answer for name, answer in result.items() if answer != DENIED} == {}


def test_a_guest_host_gives_up_both_system_calls_and_files(tmp_path: Path) -> None:
    result = tried(tmp_path, "guest host")
    assert {name: result[name] for name in CAN} == CAN
    assert result["read code"] is True
    assert {result[name] for name in ("socket", "fork", "write", "unlink")} == {DENIED}
    assert result["read"] == ("errno 13" if landlock.version() else "content")


@pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
def test_with_landlock_it_opens_no_file_but_code(tmp_path: Path) -> None:
    result = tried(tmp_path, "landlock")
    assert {name: result[name] for name in CAN} == CAN
    assert result["read code"] is True
    for name in ("read", "write", "append", "make", "unlink", "folder", "execute"):
        assert result[name] == "errno 13", name
