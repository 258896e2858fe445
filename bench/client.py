"""The client of the benchmarks, and the path of jobs."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from testing.api_client import ApiClient

T = TypeVar("T")
JOBS_PATH = "/apis/curation.dev/v1alpha1/namespaces/{namespace}/curationjobs"


class Client(ApiClient):
    """The client of the benchmarks: it may wait longer, and spreads work over its connections."""

    def __init__(self, kubeconfig: Path, connections: int = 32) -> None:
        super().__init__(kubeconfig, seconds=120)
        self.connections = connections

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """One request and its document. Raises RuntimeError for a refusal."""
        async with self.send(method, path, body) as answer:
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
