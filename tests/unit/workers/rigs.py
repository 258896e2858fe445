"""A rig whose executor has workers, and what a test does to their processes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from curation.egress.reach import Reach
from curation.execution.seam import Ended, Lost, Word
from curation.workers.cell import Settings
from curation.workers.executor import WorkersExecutor
from tests.unit.execution.conftest import GENEROUS, NAMESPACE, Heard, Rig

SETTINGS = Settings(Reach(allow=("127.0.0.0/8",)))


@asynccontextmanager
async def with_workers(around: Rig, settings: Settings = SETTINGS, **more: Any) -> AsyncIterator[Rig]:
    executor = WorkersExecutor(around.modules, around.book, around.stock, settings, observer=around.notes, **more)
    try:
        yield replace(around, executor=executor)
    finally:
        around.peer.go_on.set()
        await executor.drain(grace=5)
        assert executor.workers == {}
        if (nursery := more.get("nursery")) is not None:
            await nursery.close()


async def worker(rig: Rig, namespace: str = NAMESPACE) -> int:
    """The process id of its worker, once that is known."""
    async with asyncio.timeout(GENEROUS):
        while not rig.executor.workers.get(namespace):  # noqa: ASYNC110 - its template says it in a moment
            await asyncio.sleep(0.01)
    pid: int = rig.executor.workers[namespace]
    return pid


async def guest_host(rig: Rig, namespace: str = NAMESPACE) -> int:
    """The process id of its guest host, once that is known."""
    async with asyncio.timeout(GENEROUS):
        while not rig.executor.guest_hosts.get(namespace):  # noqa: ASYNC110 - its template says it in a moment
            await asyncio.sleep(0.01)
    pid: int = rig.executor.guest_hosts[namespace]
    return pid


async def send(rig: Rig, number: signal.Signals) -> int:
    pid = await worker(rig)
    os.kill(pid, number)
    return pid


async def end_of(heard: Heard) -> Word:
    """Ended or Lost."""
    async with asyncio.timeout(GENEROUS):
        while not isinstance(heard.words[-1], Ended | Lost):  # noqa: ASYNC110 - a word that is heard
            await asyncio.sleep(0.01)
    return heard.words[-1]


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def descriptors(pid: int) -> set[str]:
    return {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
