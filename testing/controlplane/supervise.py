"""Runs the servers of one control plane, and ends them and removes their folder when its owner ends, however it ends.

A program of its own (`processes` starts it by path, isolated, with nothing but the standard library), because only a
process that outlives the owner can clean up after a SIGKILL. It ends its work when its standard input closes or when it
gets another parent: the first alone does not do, since a fork of the owner may hold the pipe open. The servers in turn
die with this process (PR_SET_PDEATHSIG). That signal fires when the *thread* that forked ends, so this program has only
one; in the owner, which has threads, it would end the servers at random.

Protocol: a JSON object a line, one answer for each. `{"do": "start", "name", "argv", "log"}`,
`{"do": "signal", "name", "signal"}`, `{"do": "state", "name"}`; every answer is `{"exit": code or null}`, or
`{"error": text}`.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_POLL_SECONDS = 1.0


def _dies_with_us() -> Callable[[], None] | None:
    if not sys.platform.startswith("linux"):
        return None
    # Loaded before the fork: the child should do as little as possible.
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    return before_exec


class Supervisor:
    """The servers by name, in the order in which they were started."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        self._before_exec = _dies_with_us()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what one request asks."""
        name = request["name"]
        if request["do"] == "start":
            self._start(name, request["argv"], Path(request["log"]))
        elif request["do"] == "signal":
            server = self._servers[name]
            # poll() first: the number of a process that has ended and was reaped may be another's by now.
            if server.poll() is None:
                server.send_signal(request["signal"])
        elif request["do"] != "state":
            return {"error": f"unknown request {request['do']!r}"}
        return {"exit": self._servers[name].poll()}

    def _start(self, name: str, argv: list[str], log: Path) -> None:
        running = self._servers.get(name)
        if running and running.poll() is None:
            raise RuntimeError(f"{name} runs already")
        with log.open("ab") as output:
            self._servers[name] = subprocess.Popen(
                argv,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=self._before_exec,
                # Ctrl-C on the terminal is for the owner, who stops us.
                start_new_session=True,
            )

    def stop(self) -> None:
        """Kill all servers; their data are thrown away, so there is nothing to end in good order."""
        for server in self._servers.values():
            if server.poll() is None:
                server.kill()
        for server in self._servers.values():
            server.wait()


def main(folder: Path, owner: int, *, keep: bool) -> None:
    """Serve requests until the owner has gone."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    supervisor = Supervisor(folder)
    received = b""
    try:
        while os.getppid() == owner:
            readable, _, _ = select.select([0], [], [], _POLL_SECONDS)
            if not readable:
                continue
            # Not sys.stdin: its buffer could hold a request that select() knows nothing of.
            chunk = os.read(0, 65536)
            if not chunk:
                return
            received += chunk
            while b"\n" in received:
                line, received = received.split(b"\n", 1)
                try:
                    answer = supervisor.answer(json.loads(line))
                except (OSError, KeyError, ValueError, RuntimeError) as error:
                    answer = {"error": f"{type(error).__name__}: {error}"}
                os.write(1, json.dumps(answer).encode() + b"\n")
    except BrokenPipeError:
        return
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        supervisor.stop()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), keep=sys.argv[3] == "keep")
