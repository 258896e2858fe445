"""A connection of our own to the test's API server, and jobs to write to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from curation.cluster.answers import Created, Document, Written
from curation.cluster.api import ClusterAPI
from curation.cluster.cache import Cache, Stored
from curation.cluster.connection import Connection, connect
from curation.cluster.request_labels import RequestObserver
from curation.cluster.resources import JOBS, ResourceKind
from curation.cluster.writer import Writer
from testing.controlplane.connection import Connection as Server

PATIENCE = 60.0
"""Seconds; a wait that takes as long has failed."""


class Client:
    """The parts of the cluster layer over one connection, in one namespace."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self.connection = connection
        self.namespace = namespace
        self.api = ClusterAPI(connection)
        self.writer = Writer(connection)

    async def create_job(self, name: str = "a") -> Document:
        """Make a job, as a user would."""
        body = {
            "apiVersion": JOBS.api_version,
            "kind": JOBS.kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"moduleRef": {"name": "m"}},
        }
        answer = await self.api.create(JOBS, self.namespace, body)
        assert isinstance(answer, Created), answer
        return answer.obj

    async def get_job(self, name: str = "a") -> Document:
        """The job as the server has it."""
        found = await self.api.get(JOBS, self.namespace, name)
        assert found is not None
        return found

    async def label(self, name: str, value: str) -> Document:
        """Edit a label, as somebody else would."""
        job = await self.get_job(name)
        answer = await self.writer.patch(
            JOBS,
            self.namespace,
            name,
            resource_version=job["metadata"]["resourceVersion"],
            body={"metadata": {"labels": {"team": value}}},
            subresource=None,
        )
        assert isinstance(answer, Written), answer
        return answer.obj

    async def destroy_job(self, name: str = "a") -> Document:
        """Delete the job and wait until it is gone, its finalizer (put on at admission) included."""
        job = await self.get_job(name)
        assert await self.api.delete(JOBS, self.namespace, name, uid=job["metadata"]["uid"], resource_version=None)

        async def gone() -> bool:
            found = await self.api.get(JOBS, self.namespace, name)
            if found is not None:
                await self.writer.patch(
                    JOBS,
                    self.namespace,
                    name,
                    resource_version=found["metadata"]["resourceVersion"],
                    body={"metadata": {"finalizers": None}},
                    subresource=None,
                )
            return found is None

        await eventually(gone, "the job stayed")
        return job


@asynccontextmanager
async def client(
    kubeconfig: Path,
    namespace: str,
    *,
    seconds: float = 30.0,
    observer: RequestObserver | None = None,
    cuts: bool = False,
) -> AsyncIterator[Client]:
    """Connect through this kubeconfig; with `cuts` as the operator does."""
    environ = {"KUBECONFIG": str(kubeconfig)}
    async with await connect(environ=environ, request_timeout=seconds, observer=observer, cuts=cuts) as connection:
        yield Client(connection, namespace)


@pytest.fixture
async def cluster(installed: Server, namespace: str) -> AsyncIterator[Client]:
    """A client with all rights."""
    async with client(installed.kubeconfig(), namespace) as made:
        yield made


async def eventually(condition: Callable[[], Awaitable[Any]], what: str) -> Any:
    """Wait until the condition gives something true, and return that."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if value := await condition():
                return value
            await asyncio.sleep(0.02)
    raise AssertionError(what)


def stored(kind: ResourceKind, obj: Document) -> Stored:
    """As the cache keeps it."""
    cache = Cache(kind)
    cache.put(obj)
    found = cache.get(obj["metadata"].get("namespace"), obj["metadata"]["name"])
    assert found is not None
    return found
