"""Finished jobs by the ten thousands, for benchmarks of an operator that starts: copies of one, put straight into etcd.

Through the API server each job costs two writes, 20 ms of processor time: 100,000 of them half an hour of two cores.
So one job is made by the API, with its status, by the book. What the API server has stored of it is read from etcd, and
copies are put beside it, that differ in name and uid alone. The API server learns of them by its own watch of etcd, as
of what another API server has written. What the operator reads is the same; no admission and no validation has run for
the copies, which is what it saves.
"""

import asyncio
import base64
import uuid
from pathlib import Path
from typing import Any, Final

import aiohttp

from bench import fixtures
from bench.client import JOBS_PATH, Client
from bench.statuses import statuses
from curation.api.job import status_to_wire
from testing.controlplane.programs import ETCD_SOCKET

_PREFIX: Final = "/registry/curation.dev/curationjobs"
_AT_ONCE: Final = 16
"""Requests to etcd. Each object is put alone: those of one transaction would have one resourceVersion."""
_SEEN_SECONDS: Final = 600.0


async def finished_jobs(client: Client, folder: Path, namespace: str, first: int, end: int) -> None:
    """Put the Completed jobs finished-FIRST to finished-(END - 1) there; `folder` is the control plane's."""
    path = JOBS_PATH.format(namespace=namespace)
    name = f"finished-{first}"
    made = await client.call("POST", path, fixtures.job(name, fixtures.WITH_SESSION, "http://127.0.0.1:8080"))
    finished = {"status": status_to_wire(statuses(made)[-1])}
    await client.call("PATCH", f"{path}/{name}/status", finished)
    connector = aiohttp.UnixConnector(str(folder / ETCD_SOCKET))
    async with aiohttp.ClientSession("http://etcd", connector=connector) as http:
        found = await _call(http, "range", {"key": _key(namespace, name)})
        pattern = base64.b64decode(found["kvs"][0]["value"])
        numbers, revision = iter(range(first + 1, end)), 0

        async def put() -> None:
            nonlocal revision
            for number in numbers:
                copy = pattern.replace(made["metadata"]["uid"].encode(), str(uuid.uuid4()).encode())
                copy = copy.replace(f'"{name}"'.encode(), f'"finished-{number}"'.encode())
                value = base64.b64encode(copy).decode()
                answer = await _call(http, "put", {"key": _key(namespace, f"finished-{number}"), "value": value})
                revision = max(revision, int(answer["header"]["revision"]))

        await asyncio.gather(*(put() for _ in range(_AT_ONCE)))
    async with asyncio.timeout(_SEEN_SECONDS):
        # Trap: with a limit and without a match this would be asked of that very revision, which may be compacted.
        await _seen(client, f"{path}?limit=1&resourceVersion={revision}&resourceVersionMatch=NotOlderThan")


async def _seen(client: Client, path: str) -> None:
    """Wait until the API server has heard of it all: before that it answers 504."""
    while True:
        async with client.send("GET", path) as answer:
            if answer.status == 200:
                return
            if answer.status != 504:
                answer.raise_for_status()
        await asyncio.sleep(1)


def _key(namespace: str, name: str) -> str:
    return base64.b64encode(f"{_PREFIX}/{namespace}/{name}".encode()).decode()


async def _call(http: aiohttp.ClientSession, what: str, body: dict[str, Any]) -> Any:
    async with http.post(f"/v3/kv/{what}", json=body) as answer:
        answer.raise_for_status()
        return await answer.json()
