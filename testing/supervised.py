"""The session service and the operator as programs of a person's machine: for the demo and the benchmarks.

They run under the supervisor of `testing.controlplane`, which ends them when their owner ends, even by SIGKILL. Each
writes to a log of its own, from which its URL is read. Tests have `testing.operator_process`.
"""

import asyncio
import re
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import aiohttp

from testing.controlplane.processes import Processes
from testing.operator_process import PROGRAM

ROOT: Final = Path(__file__).parents[1]
SESSIONS: Final = "session-service"
OPERATOR: Final = "curation-operator"
POLL_SECONDS: Final = 0.02
_STOP_SECONDS: Final = 30.0
_LAST_LINES: Final = 25
_SERVES: Final = re.compile(r"serving .* on (http://\S+)")

T = TypeVar("T")


class ProgramError(Exception):
    """A program has ended, or does not do what is waited for; the message has the end of its log."""


class Supervised:
    """Starts, asks and stops them. `seconds` is how long anything may take."""

    def __init__(self, prefix: str, seconds: float) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=prefix))
        self._seconds = seconds
        self._processes = Processes(self.folder, keep=False)
        self._started: list[str] = []

    def stop(self) -> None:
        """End all of them, and remove the folder."""
        self._processes.stop()

    def log(self, name: str) -> Path:
        """The file that one of them writes its output to."""
        return self.folder / f"{name}.log"

    def last_lines(self, name: str) -> str:
        """The end of a log."""
        log = self.log(name)
        return "\n".join(log.read_text().splitlines()[-_LAST_LINES:]) if log.exists() else "(it wrote nothing)"

    def died(self) -> str:
        """Which of them has ended, and the end of its log; empty if all run."""
        for name in self._started:
            code = self._processes.exit_code(name)
            if code is not None:
                return f"the {name} has ended with {code}; the end of its log:\n{self.last_lines(name)}"
        return ""

    async def start_sessions(self) -> str:
        """Start the session service; returns its URL."""
        self._start(SESSIONS, [f"PYTHONPATH={ROOT}"], [sys.executable, "-u", "-m", "testing.sessions"])
        return await self._url(SESSIONS, re.compile(r"^(http://\S+)\n"))

    async def start_operator(
        self,
        environment: Sequence[str],
        options: Sequence[str],
        name: str = OPERATOR,
        program: Sequence[str] = (str(PROGRAM),),
    ) -> str:
        """Start an operator with these NAME=VALUE and options, wait until it is ready; returns its URL."""
        self._start(name, environment, [*program, "run", *options])
        url = await self._url(name, _SERVES)
        async with aiohttp.ClientSession() as http:
            await self._until(name, "is ready", lambda: _ready(http, url))
        return url

    async def start_program(self, name: str, environment: Sequence[str], command: Sequence[str], says: str) -> None:
        """Start any other program with these NAME=VALUE, and wait until its log says this."""
        self._start(name, environment, command)

        async def check() -> bool | None:
            return says in self.log(name).read_text() or None

        await self._until(name, f"says {says!r}", check)

    def let_end(self, name: str) -> None:
        """From now on it is no failure that this one ends."""
        self._started.remove(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one of them."""
        self._processes.signal(name, number)

    async def stop_operator(self, name: str = OPERATOR) -> int:
        """Stop it in good order, as a kubelet would; returns its exit code."""
        self.signal(name, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_SECONDS
        while (code := self._processes.exit_code(name)) is None:
            if time.monotonic() > deadline:
                raise ProgramError(f"the {name} did not stop within {_STOP_SECONDS:.0f} s of SIGTERM")
            await asyncio.sleep(POLL_SECONDS)
        return code

    def _start(self, name: str, environment: Sequence[str], command: Sequence[str]) -> None:
        # env(1), because the supervisor gives its servers an environment of nothing but PATH and the language.
        self._processes.start(name, ["/usr/bin/env", *environment, *command], self.log(name))
        self._started.append(name)

    async def _url(self, name: str, pattern: re.Pattern[str]) -> str:
        async def check() -> str | None:
            log = self.log(name)
            found = pattern.search(log.read_text()) if log.exists() else None
            return found[1] if found else None

        return await self._until(name, "says where it serves", check)

    async def _until(self, name: str, what: str, check: Callable[[], Awaitable[T | None]]) -> T:
        deadline = time.monotonic() + self._seconds
        while (found := await check()) is None:
            if died := self.died():
                raise ProgramError(died)
            if time.monotonic() > deadline:
                last = self.last_lines(name)
                raise ProgramError(f"waited {self._seconds:.0f} s in vain until the {name} {what}; its log:\n{last}")
            await asyncio.sleep(POLL_SECONDS)
        return found


async def _ready(http: aiohttp.ClientSession, url: str) -> bool | None:
    try:
        async with http.get(f"{url}/readyz") as answer:
            return True if answer.status == 200 else None
    except aiohttp.ClientError:
        return None
