"""A kopf operator over a connection of ours, as small as can be."""

import asyncio
from typing import Any

import kopf

from curation.cluster.connection import Connection
from curation.cluster.kopf_login import kopf_login
from curation.cluster.resources import JOBS
from curation.cluster.watching import Watching

from .conftest import PATIENCE


class Shell:
    """A kopf operator over a connection of ours, that records which jobs it sees: of lists past kopf, as ours does."""

    def __init__(self, connection: Connection, namespace: str, watching: Watching | None = None) -> None:
        self.seen: asyncio.Queue[tuple[str | None, str]] = asyncio.Queue()
        self.logins = 0
        self.sessions: list[Any] = []
        watching = watching or Watching()
        watching.take = self._take
        registry = kopf.OperatorRegistry()
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.watching.chunk_size = 2
        settings.scanning.disabled = True
        settings.networking.error_backoffs = [0.1] * 100
        settings.watching.reconnect_backoff = 0.1

        @kopf.on.login(registry=registry)
        async def login(**_: Any) -> kopf.AiohttpSession:
            self.logins += 1
            made = await kopf_login(connection, watching)
            self.sessions.append(made.aiohttp_session)
            return made

        @kopf.on.event(JOBS.group, JOBS.version, JOBS.plural, registry=registry)
        async def see(type: str | None, name: str, **_: Any) -> None:  # noqa: A002
            assert type is not None, "kopf was shown what a list holds"
            self.seen.put_nowait((type, name))

        self.stop = asyncio.Event()
        self.task = asyncio.create_task(
            kopf.operator(
                registry=registry,
                settings=settings,
                namespaces=[namespace],
                standalone=True,
                stop_flag=self.stop,
            )
        )

    async def _take(self, _resource: str, objects: list[dict[str, Any]]) -> None:
        for each in objects:
            self.seen.put_nowait((None, each["metadata"]["name"]))

    async def sees(self, name: str) -> None:
        """Wait until it has seen this job."""
        async with asyncio.timeout(PATIENCE):
            while (await self.seen.get())[1] != name:
                pass

    async def end(self) -> None:
        """Stop it."""
        self.stop.set()
        await asyncio.wait_for(self.task, PATIENCE)
