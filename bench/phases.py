"""When each job was first seen in a phase, by a watch: what any other client of the API server could see."""

import asyncio
import re
import time
from collections import defaultdict

from bench.client import JOBS_PATH, Client

# A line of a watch is searched, not parsed: parsing would take processor time from what is measured.
# These three are together in the metadata, since the API server sorts the keys of a custom resource.
_OBJECT = re.compile(rb'"name":"([^"]+)","namespace":"[^"]+","resourceVersion":"(\d+)"')
_PHASE = re.compile(rb'"phase":"(\w+)"')
_ATTEMPT = re.compile(rb'"attempt":(\d+)')


class Phases:
    """Watches the jobs of one namespace until it is closed. Times are of the monotonic clock, in seconds."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._path = JOBS_PATH.format(namespace=namespace)
        self.first: dict[str, dict[str, float]] = defaultdict(dict)
        """By phase and name; by `phase/attempt` too."""
        self.now: dict[str, str] = {}
        """The phase of each job."""
        self._task: asyncio.Task[None] | None = None
        self._news = asyncio.Event()

    async def start(self) -> None:
        """Watch what happens from now on."""
        listed = await self._client.call("GET", f"{self._path}?limit=1")
        self._task = asyncio.create_task(self._watch(listed["metadata"]["resourceVersion"]))

    async def close(self) -> None:
        """Stop watching."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def reached(self, phase: str, names: set[str], seconds: float = 300) -> float:
        """Wait until all of these were seen in the phase; returns when the last one was."""
        assert self._task is not None
        async with asyncio.timeout(seconds):
            while not names <= self.first[phase].keys():
                self._news.clear()
                waiting = asyncio.create_task(self._news.wait())
                await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
                if self._task.done():
                    self._task.result()
                    raise RuntimeError("the watch has ended")
        return max(self.first[phase][name] for name in names)

    async def _watch(self, version: str) -> None:
        while True:
            path = f"{self._path}?watch=1&resourceVersion={version}"
            async with self._client.send("GET", path, seconds=None) as answer:
                answer.raise_for_status()
                pending = b""
                async for chunk in answer.content.iter_any():
                    at = time.monotonic()
                    *lines, pending = (pending + chunk).split(b"\n")
                    for line in lines:
                        version = self._take(line, at) or version

    def _take(self, line: bytes, at: float) -> str | None:
        """Take in one line; returns its resourceVersion."""
        found, phase = _OBJECT.search(line), _PHASE.search(line)
        if found is None:
            return None
        name, version = found[1].decode(), found[2].decode()
        if phase is None or b'"DELETED"' in line[:40]:
            return version
        value = phase[1].decode()
        self.now[name] = value
        self.first[value].setdefault(name, at)
        attempt = _ATTEMPT.search(line)
        if attempt is not None:
            self.first[f"{value}/{attempt[1].decode()}"].setdefault(name, at)
        self._news.set()
        return version
