"""A control plane with what the operator ships, a session service and the operator, each in its own process."""

import asyncio
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import aiohttp

from bench.processes import cpu_seconds, running_in
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER, install
from testing.controlplane.processes import Processes
from testing.controlplane.server import ControlPlane

ROOT: Final = Path(__file__).parents[1]
WAIT_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.02
_PROGRAMS: Final = {
    "operator": "curation.cli.operator",
    "kube-apiserver": "kube-apiserver",
    "etcd": "etcd",
    "session service": "testing.sessions",
}
T = TypeVar("T")
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


class Stage:
    """Starts all of it, and ends all of it. The operator runs under the shipped role, and can be started anew."""

    def __init__(self, *options: str) -> None:
        self.control_plane = ControlPlane(controller_manager=False)
        self._options = options
        self.folder = Path(tempfile.mkdtemp(prefix="curation-bench-"))
        self._processes = Processes(self.folder, keep=False)
        self.operators = 0
        """How many operators were started; the first is number 1."""
        self.sessions_url = ""
        self.operator_url = ""
        self.operator_pid = 0

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self.control_plane.start)
            await asyncio.to_thread(install, self.control_plane.connection)
            command = [f"PYTHONPATH={ROOT}", sys.executable, "-u", "-m", "testing.sessions"]
            self._processes.start("sessions", ["/usr/bin/env", *command], self.folder / "sessions.log")
            self.sessions_url = await self._read("sessions", re.compile(r"^(http://\S+)\n"))
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._processes.stop)
        await asyncio.to_thread(self.control_plane.stop)

    @property
    def _operator(self) -> str:
        return f"operator-{self.operators}"

    @property
    def operator_log(self) -> Path:
        """What the operator of now says."""
        return self.log_of(self.operators)

    def log_of(self, number: int) -> Path:
        """What the operator of this number says."""
        return self.folder / f"operator-{number}.log"

    def signal(self, number: int, what: signal.Signals) -> None:
        """Send a signal to the operator of this number."""
        self._processes.signal(f"operator-{number}", what)

    async def start_operator(self) -> float:
        """Start the operator; returns the seconds until it said that it is ready."""
        self.operators += 1
        kubeconfig = self.control_plane.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)
        options = ("--allow-cidr=127.0.0.0/8", "--http-bind=127.0.0.1:0", *self._options)
        module = [sys.executable, "-m", "curation.cli.operator", "run", *options]
        started = time.monotonic()
        self._processes.start(
            self._operator, ["/usr/bin/env", f"KUBECONFIG={kubeconfig}", *module], self.folder / f"{self._operator}.log"
        )
        self.operator_url = await self._read(self._operator, re.compile(r"serving .* on (http://\S+)"))
        async with aiohttp.ClientSession() as http:
            while not await _ready(http, self.operator_url):
                if time.monotonic() > started + WAIT_SECONDS:
                    raise RuntimeError(f"the operator is not ready: {self.operator_log.read_text()[-2000:]}")
                await asyncio.sleep(_POLL_SECONDS)
        self.operator_pid = running_in(self.folder)["curation.cli.operator"]
        return time.monotonic() - started

    async def stop_operator(self) -> int:
        """Stop it in good order; returns its exit code."""
        self._processes.signal(self._operator, signal.SIGTERM)
        return await self._until("stops", lambda: self._processes.exit_code(self._operator))

    def cpu(self) -> dict[str, float]:
        """Processor seconds of each process so far; without the operator while it does not run."""
        found = {**running_in(self.control_plane.folder), **running_in(self.folder)}
        return {shown: cpu_seconds(found[name]) for shown, name in _PROGRAMS.items() if name in found}

    async def metrics(self) -> dict[tuple[str, str], float]:
        """The operator's metrics, by name and labels."""
        async with aiohttp.ClientSession() as http, http.get(f"{self.operator_url}/metrics") as answer:
            text = await answer.text()
        return {(name, labels): float(value) for name, labels, value in _SAMPLE.findall(text)}

    async def _read(self, name: str, pattern: re.Pattern[str]) -> str:
        log = self.folder / f"{name}.log"

        def check() -> str | None:
            found = pattern.search(log.read_text()) if log.exists() else None
            return found[1] if found else None

        return await self._until(f"of {name} says where it serves", check)

    async def _until(self, what: str, check: Callable[[], T | None]) -> T:
        deadline = time.monotonic() + WAIT_SECONDS
        while (found := check()) is None:
            if time.monotonic() > deadline:
                raise RuntimeError(f"waited {WAIT_SECONDS:.0f} s in vain until the process {what}")
            await asyncio.sleep(_POLL_SECONDS)
        return found


async def _ready(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/readyz") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
