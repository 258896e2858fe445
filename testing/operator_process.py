"""The operator as it is shipped: its own process, as the service account with the shipped role, never as admin."""

import asyncio
import json
import signal
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from testing.metrics_page import MetricsPage

PROGRAM = Path(sysconfig.get_path("scripts")) / "curation-operator"

READY_SECONDS = 180.0
"""Several test workers start operators on few cores."""
STOP_SECONDS = 20.0
_POLL_SECONDS = 0.02

# Dies with the thread that started it, also when the tests are killed. A program of its own, since code between fork
# and exec must not touch what other threads may hold; prctl's effect survives an exec. 1 is PR_SET_PDEATHSIG.
_LAUNCH = """
import os, signal, sys
if sys.platform.startswith("linux"):
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.execv(sys.argv[1], sys.argv[1:])
"""

LogLine = dict[str, Any]


class Metrics:
    """One reading of /metrics; of counters, what was added since an earlier one."""

    def __init__(self, text: str, since: "Metrics | None" = None) -> None:
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        self._since = since

    def value(self, name: str, **labels: str) -> float:
        """Sum of the samples with these labels; 0 if there are none."""
        total = sum(
            sample.value
            for sample in self._samples
            if sample.name == name and all(sample.labels.get(key) == text for key, text in labels.items())
        )
        counts = name.endswith(("_total", "_count", "_sum", "_bucket"))
        return total - self._since.value(name, **labels) if self._since is not None and counts else total


class OperatorProcess:
    """One run of `curation-operator run`. Start it by `await operator.start()`, end it by `stop` or `kill`."""

    def __init__(
        self,
        environment: Mapping[str, str],
        arguments: Sequence[str],
        changed: Callable[[], None] = lambda: None,
        command: Sequence[str] = (str(PROGRAM),),
    ) -> None:
        """The `command` begins with a program's full path and ends as the operator, with `run` and the arguments."""
        self._environment = {**environment, "PYTHONFAULTHANDLER": "1"}
        self._command = (*command, "run", *arguments)
        self._changed = changed
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._paused = False
        self._page = MetricsPage(self._metrics_text)
        self._since: Metrics | None = None
        self.lent = False
        """It serves other tests too: what ends a test does not end it."""
        self.url = ""
        self.log: list[LogLine] = []
        """Its log, one document a line; a line that is none is kept under `message`."""

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        """Its process id; None before it was started."""
        return self._process.pid if self._process is not None else None

    async def lend(self, changed: Callable[[], None]) -> None:
        """Let it serve another test: its log and its counters begin anew, and `changed` is called from now on."""
        self._changed, self.log, self._since, self.lent = changed, [], None, True
        self._since = await self.metrics()

    async def launch(self) -> None:
        """Start it, and wait for nothing."""
        assert self._process is None, "this operator was started already; make another"
        # Trap: what it writes for a while, such as compiled modules, stays when the process is killed.
        self._folder = tempfile.TemporaryDirectory(prefix="curation-operator-")
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _LAUNCH),
            *self._command,
            env={**self._environment, "TMPDIR": self._folder.name},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            limit=2**22,
        )
        self._reader = asyncio.create_task(self._read(), name="operator log")

    async def start(self, seconds: float = READY_SECONDS) -> None:
        """Start it and wait until it is ready. Raises AssertionError with its log if it does not become so."""
        await self.launch()
        try:
            async with asyncio.timeout(seconds):
                while not await self._is_ready():
                    assert self.running, f"the operator ended with {await self.exit_code()}:\n{self.text()}"
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise AssertionError(f"the operator was not ready in {seconds:g} s:\n{self.text()}") from None

    async def metrics(self) -> Metrics:
        """What it counts now."""
        return Metrics(await self._page.text(), self._since)

    async def _metrics_text(self) -> str:
        return (await self.fetch("/metrics"))[1]

    async def until_metric(self, value: float, name: str, **labels: str) -> None:
        """Wait until its counters say so. Raises TimeoutError."""
        async with asyncio.timeout(READY_SECONDS):
            while (await self.metrics()).value(name, **labels) != value:  # noqa: ASYNC110 - a page that is read
                await asyncio.sleep(_POLL_SECONDS)

    async def fetch(self, path: str) -> tuple[int, str]:
        """Status and text of one of its pages."""
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as answer:
            return answer.status, await answer.text()

    def logged(self, text: str, **fields: object) -> list[LogLine]:
        """The lines whose message has this text and that have these fields."""
        return [
            line
            for line in self.log
            if text in str(line.get("message", "")) and all(line.get(key) == value for key, value in fields.items())
        ]

    def text(self, last: int = 60) -> str:
        """The end of its log, for a person."""
        return "\n".join(
            f"{line.get('level', '')} {line.get('message', '')} {line.get('exc_info', '')}" for line in self.log[-last:]
        )

    def terminate(self) -> None:
        """Ask it to stop, as a kubelet does."""
        self._signal(signal.SIGTERM)

    async def pause(self) -> None:
        """Freeze it, as a machine that sleeps does."""
        self._signal(signal.SIGSTOP)
        self._paused = True
        while not self._is_frozen():  # noqa: ASYNC110 - a signal takes its time, and no event says
            await asyncio.sleep(_POLL_SECONDS)

    def resume(self) -> None:
        """End the freeze."""
        self._signal(signal.SIGCONT)
        self._paused = False

    async def stop(self, code: int = 0, seconds: float = STOP_SECONDS) -> None:
        """Stop it in good order; raises AssertionError if it ends with another code, or not in time."""
        if self._paused:
            self.resume()
        self.terminate()
        ended = await self.exit_code(seconds)
        assert ended == code, f"the operator ended with {ended}, not {code}:\n{self.text()}"

    async def kill(self) -> None:
        """End it as a crash does; returns when it has ended."""
        if self.running:
            self._signal(signal.SIGKILL)
        await self.exit_code()

    async def exit_code(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its end; then its log is complete. Negative when a signal ended it."""
        assert self._process is not None
        assert self._reader is not None
        assert self._folder is not None
        try:
            async with asyncio.timeout(seconds):
                code = await self._process.wait()
                await self._reader
        except TimeoutError:
            # With PYTHONFAULTHANDLER in its environment it says where each of its threads hangs.
            self._process.send_signal(signal.SIGABRT)
            await self._process.wait()
            await self._reader
            raise AssertionError(f"the operator did not end in {seconds:g} s:\n{self.text()}") from None
        finally:
            self._folder.cleanup()
        return code

    def _is_frozen(self) -> bool:
        """Every thread of it, which the process's own state does not show."""
        assert self._process is not None
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/stat")
        try:
            return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in threads)
        except OSError:  # one of them has just ended
            return False

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def _is_ready(self) -> bool:
        if not self.url:
            return False
        try:
            return (await self.fetch("/readyz"))[0] == 200
        except aiohttp.ClientError:
            return False

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        async for raw in self._process.stderr:
            text = raw.decode(errors="replace").rstrip("\n")
            try:
                line = json.loads(text)
            except ValueError:
                line = {"message": text}
            self.log.append(line if isinstance(line, dict) else {"message": text})
            if not self.url and "url" in self.log[-1]:
                self.url = self.log[-1]["url"]
            self._changed()
        self._changed()
