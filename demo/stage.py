"""The processes of the demo besides the control plane: the session service and the operator.

They run under the supervisor of `testing.controlplane`, which ends them when the demo ends, even by SIGKILL, and
removes their folder.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import aiohttp

from demo.board import WAIT_SECONDS, DemoFailed
from demo.reach import Reach
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from testing.controlplane.processes import Processes

ROOT: Final = Path(__file__).parents[1]
PROGRAMS: Final = Path(sys.executable).parent
"""Where pip has put curation-operator and kubectl-curation."""

OPERATOR: Final = "curation-operator"
SESSIONS: Final = "session-service"
DROPPED: Final = "dropped a stale completion"

_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.02
_LEISURELY_SECONDS = 1.0
_LAST_LINES = 25

T = TypeVar("T")


class Stage:
    """Starts and stops both; a context manager. The cluster must be there for longer."""

    def __init__(self, cluster: Reach) -> None:
        self.cluster = cluster
        self.folder = Path(tempfile.mkdtemp(prefix="curation-demo-"))
        self._processes = Processes(self.folder, keep=False)
        self._started: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._processes.stop()

    def log(self, name: str) -> Path:
        """The file that one of them writes its output to."""
        return self.folder / f"{name}.log"

    async def start_sessions(self) -> str:
        """Start the session service; returns its URL."""
        self._start(SESSIONS, [f"PYTHONPATH={ROOT}", sys.executable, "-u", "-m", "testing.sessions"])
        return await self._read(SESSIONS, re.compile(r"^(http://\S+)\n"))

    async def start_operator(self) -> str:
        """Start the operator as its shipped service account, and wait until it is ready; returns its URL."""
        kubeconfig = self.cluster.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)
        options = ("--allow-cidr=127.0.0.0/8", "--http-bind=127.0.0.1:0", "--identity=demo")
        self._start(OPERATOR, [f"KUBECONFIG={kubeconfig}", *_home(), str(PROGRAMS / OPERATOR), "run", *options])
        url = await self._read(OPERATOR, re.compile(r"serving .* on (http://\S+)"))
        async with aiohttp.ClientSession() as http:
            await self._until(OPERATOR, "is ready", lambda: _ready(http, url))
        return url

    def died(self) -> str:
        """Which of the processes has ended, and what it last said; empty if they run."""
        for name in self._started:
            code = self._processes.exit_code(name)
            if code is not None:
                return f"the {name} has ended with {code}; the end of its log:\n{self.last_lines(name)}"
        return ""

    async def until_one_dies(self) -> str:
        """Wait as long as both run; says which has ended, and what it last said."""
        while True:
            if died := self.died():
                return died
            await asyncio.sleep(_LEISURELY_SECONDS)

    async def stop_operator(self) -> int:
        """Stop it in good order, as a kubelet would; returns its exit code."""
        self._processes.signal(OPERATOR, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while (code := self._processes.exit_code(OPERATOR)) is None:
            if time.monotonic() > deadline:
                raise DemoFailed(f"the operator did not stop within {_STOP_SECONDS:.0f} s of SIGTERM")
            await asyncio.sleep(_POLL_SECONDS)
        return code

    def dropped_lines(self) -> Sequence[str]:
        """What the operator's log says about dropped completions."""
        return [line for line in self.log(OPERATOR).read_text().splitlines() if DROPPED in line]

    def last_lines(self, name: str) -> str:
        """The end of a log."""
        log = self.log(name)
        return "\n".join(log.read_text().splitlines()[-_LAST_LINES:]) if log.exists() else "(it wrote nothing)"

    def save_logs(self) -> Path:
        """Copy the logs to a folder that stays."""
        kept = Path(tempfile.mkdtemp(prefix="curation-demo-logs-"))
        for log in self.folder.glob("*.log"):
            shutil.copy(log, kept)
        return kept

    def _start(self, name: str, command: Sequence[str]) -> None:
        # env(1), because the supervisor gives its servers an environment of nothing but PATH and the language.
        self._processes.start(name, ["/usr/bin/env", *command], self.log(name))
        self._started.append(name)

    async def _read(self, name: str, pattern: re.Pattern[str]) -> str:
        async def check() -> str | None:
            found = pattern.search(self.log(name).read_text())
            return found[1] if found else None

        return await self._until(name, "says where it serves", check)

    async def _until(self, name: str, what: str, check: Callable[[], Awaitable[T | None]]) -> T:
        deadline = time.monotonic() + WAIT_SECONDS
        while (found := await check()) is None:
            if died := self.died():
                raise DemoFailed(died)
            if time.monotonic() > deadline:
                last = self.last_lines(name)
                raise DemoFailed(f"waited {WAIT_SECONDS:.0f} s in vain until the {name} {what}; its log:\n{last}")
            await asyncio.sleep(_POLL_SECONDS)
        return found


def _home() -> list[str]:
    """Programs that a kubeconfig names for its credentials keep theirs in the person's home folder."""
    return [f"HOME={os.environ['HOME']}"] if "HOME" in os.environ else []


async def _ready(http: aiohttp.ClientSession, url: str) -> bool | None:
    try:
        async with http.get(f"{url}/readyz") as answer:
            return True if answer.status == 200 else None
    except aiohttp.ClientError:
        return None
