"""The owner's side of the supervisor: starts it, and asks it to start, signal and check servers.

Called by `server` only. Safe to use from several threads.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from testing.controlplane import supervise
from testing.controlplane.errors import ControlPlaneError

_STOP_SECONDS = 30.0
_GO = {"GOGC": "400"}
"""Less garbage collection for more memory: with it fifty faces take a sixth less time (measured); each server ends
with the tests, and stays below its limit as long as it can."""
MEMORY = "2GiB"
"""Of each server. Enough for some ten thousand objects."""


class Processes:
    """The servers of one control plane, run in `folder`; `keep` says whether the folder outlives them.

    `memory` is what Go lets each of them take before it collects garbage all the time, as in GOMEMLIMIT.
    """

    def __init__(self, folder: Path, *, keep: bool, memory: str = MEMORY) -> None:
        self._folder = folder
        self._keep = keep
        self._lock = threading.Lock()
        # Only what the servers need: a proxy or a Kubernetes variable of the caller's must not reach them.
        environment = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
        self._supervisor = subprocess.Popen(
            # The script and not the module: -I keeps the caller's folders and variables out of it.
            [sys.executable, "-I", supervise.__file__, str(folder), str(os.getpid()), "keep" if keep else "remove"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, **_GO, "GOMEMLIMIT": memory, "HOME": str(folder), "TMPDIR": str(folder)},
            cwd="/",
            start_new_session=True,
        )

    def start(self, name: str, argv: Sequence[str], log: Path) -> None:
        """Start a server under a name that no running server has; its output is appended to `log`."""
        self._ask(do="start", name=name, argv=list(argv), log=str(log))

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a server; nothing happens when it has ended."""
        self._ask(do="signal", name=name, signal=int(number))

    def exit_code(self, name: str) -> int | None:
        """None while the server runs; negative when a signal ended it."""
        code: int | None = self._ask(do="state", name=name)["exit"]
        return code

    def stop(self) -> None:
        """Kill all servers and remove the folder (unless it is kept); may be called again."""
        with self._lock:
            assert self._supervisor.stdin
            assert self._supervisor.stdout
            with suppress(BrokenPipeError):  # It has been killed.
                self._supervisor.stdin.close()
            try:
                self._supervisor.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                # Its servers die with it.
                self._supervisor.kill()
                self._supervisor.wait()
            self._supervisor.stdout.close()
        if not self._keep:
            # The supervisor has done it, unless something killed it.
            shutil.rmtree(self._folder, ignore_errors=True)

    def _ask(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            assert self._supervisor.stdin
            assert self._supervisor.stdout
            try:
                self._supervisor.stdin.write(json.dumps(request).encode() + b"\n")
                self._supervisor.stdin.flush()
                line = self._supervisor.stdout.readline()
            except BrokenPipeError:
                line = b""
            except ValueError as error:  # The pipe was closed by stop().
                raise ControlPlaneError("this control plane has been stopped") from error
        if not line:
            raise ControlPlaneError("the supervisor of this control plane has ended: somebody killed it; start anew")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ControlPlaneError(f"{request['do']} {request['name']}: {answer['error']}")
        return answer
