"""A control plane with what the operator ships, a session service and the operator, each in its own process."""

import asyncio
import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp

from bench.builds import OWN, Build
from bench.processes import cpu_seconds, own_seconds, rss_bytes, running_in, tree
from testing.argo import controller as argo
from testing.argo.build import ARGO
from testing.argo.build import PROGRAM as ARGO_PROGRAM
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER, install
from testing.controlplane.server import ControlPlane
from testing.metrics_page import MetricsPage
from testing.supervised import OPERATOR, Supervised

WAIT_SECONDS: Final = 120.0
_PROGRAMS: Final = {
    "operator": OPERATOR,
    "kube-apiserver": "kube-apiserver",
    "etcd": "etcd",
    "kube-controller-manager": "kube-controller-manager",
    ARGO_PROGRAM: ARGO_PROGRAM,
    "session service": "testing.sessions",
}
_MEMORY: Final = "8GiB"
"""Of each server. With the limit of tests and 50,000 jobs, 1.3 GiB, the first collected garbage for 14 ms a job."""
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


class Stage:
    """Starts all of it, and ends all of it. The operator runs under the shipped role, and can be started anew."""

    def __init__(
        self, *options: str, build: Build = OWN, seconds: float = WAIT_SECONDS, controllers: Sequence[str] = ()
    ) -> None:
        """The options are the operator's; the build is what is installed, and whose operator is started.

        `seconds` is how long anything may take, an operator until it is ready for one. With `controllers` a
        kube-controller-manager runs, with these beside those of every control plane of ours.
        """
        self._build = build
        self.control_plane = ControlPlane(
            controller_manager=bool(controllers), more_controllers=controllers, memory=_MEMORY
        )
        self._options = options
        self._programs = Supervised("curation-bench-", seconds)
        self.operators = 0
        """How many operators were started; the first is number 1."""
        self.sessions_url = ""
        self.operator_url = ""
        self.operator_pid = 0
        self._page = MetricsPage(self._metrics_text)

    async def __aenter__(self) -> Self:
        try:
            await asyncio.to_thread(self.control_plane.start)
            await asyncio.to_thread(install, self.control_plane.connection, self._build.root)
            self.sessions_url = await self._programs.start_sessions()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._programs.stop)
        await asyncio.to_thread(self.control_plane.stop)

    @staticmethod
    def _name(number: int) -> str:
        return f"operator-{number}"

    def log_of(self, number: int) -> Path:
        """What the operator of this number says."""
        return self._programs.log(self._name(number))

    def signal(self, number: int, what: signal.Signals) -> None:
        """Send a signal to the operator of this number."""
        self._programs.let_end(self._name(number))
        self._programs.signal(self._name(number), what)

    async def start_operator(self, build: Build | None = None) -> float:
        """Start the operator, or that of another build with the same CRDs; returns the seconds until it was ready."""
        build = build or self._build
        self.operators += 1
        kubeconfig = self.control_plane.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)
        options = ("--allow-cidr=127.0.0.0/8", "--http-bind=127.0.0.1:0", *self._options)
        started = time.monotonic()
        self.operator_url = await self._programs.start_operator(
            [f"KUBECONFIG={kubeconfig}", *build.environment],
            options,
            self._name(self.operators),
            build.program,
        )
        ready, self._page = time.monotonic() - started, MetricsPage(self._metrics_text)
        self.operator_pid = running_in(self._programs.folder)[_PROGRAMS["operator"]]
        return ready

    async def stop_operator(self) -> int:
        """Stop it in good order; returns its exit code."""
        self._programs.let_end(self._name(self.operators))
        return await self._programs.stop_operator(self._name(self.operators))

    async def start_argo(self, requeue: str) -> None:
        """Install and start the controller of Argo Workflows; builds it first where necessary."""
        programs = await asyncio.to_thread(ARGO.find_or_build)
        connection = self.control_plane.connection
        await asyncio.to_thread(argo.install, connection, programs)
        command = argo.command(connection, programs)
        await self._programs.start_program(ARGO_PROGRAM, argo.environment(requeue), command, argo.STARTED)

    def cpu(self) -> dict[str, float]:
        """Processor seconds of each program so far; without the operator while it does not run.

        The operator's are those of all its processes, its workers and checkers too; "operator process" is it alone.
        """
        found = {**running_in(self.control_plane.folder), **running_in(self._programs.folder)}
        used = {shown: cpu_seconds(found[name]) for shown, name in _PROGRAMS.items() if name in found}
        if "operator" in used:
            used["operator process"] = own_seconds(self.operator_pid)
        return used

    def memory(self) -> dict[str, int]:
        """Resident bytes of the operator's process, and of all that have come from it; shared pages count in each."""
        others = tree(self.operator_pid) - {self.operator_pid}
        return {"operator process": rss_bytes(self.operator_pid), "its children": sum(map(rss_bytes, others))}

    async def metrics(self) -> dict[tuple[str, str], float]:
        """The operator's metrics, by name and labels."""
        text = await self._page.text()
        return {(name, labels): float(value) for name, labels, value in _SAMPLE.findall(text)}

    async def _metrics_text(self) -> str:
        async with aiohttp.ClientSession() as http, http.get(f"{self.operator_url}/metrics") as answer:
            return await answer.text()
