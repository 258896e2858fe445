"""The minimal client: aiohttp with a number of connections, JSON in and out, nothing else."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp

from testing.admin_client import tls_of

T = TypeVar("T")
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JOBS_PATH = "/apis/curation.dev/v1alpha1/namespaces/{namespace}/curationjobs"


class Client:
    """Talks to the API server of a kubeconfig. An async context manager."""

    def __init__(self, kubeconfig: Path, connections: int = 32) -> None:
        document = json.loads(kubeconfig.read_text())  # `testing.controlplane` writes them as JSON
        self._server: str = document["clusters"][0]["cluster"]["server"]
        self._tls = tls_of(kubeconfig)
        self.connections = connections
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls)
        self._http = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._http is not None
        await self._http.close()

    def request(self, method: str, path: str, body: object = None, **options: Any) -> Any:
        """One request, as aiohttp's context manager."""
        assert self._http is not None
        data = None if body is None else json.dumps(body).encode()
        kind = MERGE_PATCH if method == "PATCH" else JSON
        headers = {"Content-Type": kind, "Accept": JSON}
        return self._http.request(method, self._server + path, data=data, headers=headers, **options)

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """One request and its document. Raises RuntimeError for a refusal."""
        async with self.request(method, path, body) as answer:
            raw = await answer.read()
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status} {raw[:500].decode(errors='replace')}")
            return json.loads(raw)

    async def spread(self, work: Callable[[T], Awaitable[None]], items: Iterable[T]) -> None:
        """Do the work for each item, on as many connections as this client has."""
        queue = iter(items)

        async def one() -> None:
            for item in queue:
                await work(item)

        async with asyncio.TaskGroup() as group:
            for _ in range(self.connections):
                group.create_task(one())
