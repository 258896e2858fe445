"""Fills the board: a watch of the jobs, a watch of the Events, and reads of the session service and the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
from kubernetes.aio import client, config, watch

from demo.board import Board
from demo.facts import Metrics
from demo.service import SessionsClient

_POLL_SECONDS: Final = 0.2
"""Between two reads of what cannot be watched: a table that a person reads needs no more."""


@asynccontextmanager
async def watching(
    board: Board, kubeconfig: Path, namespace: str, sessions: SessionsClient, metrics_url: str, alive: Callable[[], str]
) -> AsyncIterator[None]:
    """Keep the board up to date until the block ends. `alive` says what has died, if anything has."""
    async with aiohttp.ClientSession() as http, await _api(kubeconfig) as api:
        tasks = [
            asyncio.create_task(_guard(board, work))
            for work in (
                _follow(api, "curation.dev", "v1alpha1", namespace, "curationjobs", board.saw_job),
                _follow(api, "events.k8s.io", "v1", namespace, "events", lambda _, event: board.saw_event(event)),
                _read_once(board, sessions, http, metrics_url, alive),
            )
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _api(kubeconfig: Path) -> Any:
    configuration = client.Configuration()
    await config.load_kube_config(str(kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
    # The API server is on this machine: no proxy of the caller's leads there.
    configuration.proxy = None
    return client.ApiClient(configuration)


async def _guard(board: Board, work: Any) -> None:
    """A demo that no longer sees anything has failed; it does not wait for its limits."""
    try:
        await work
    except Exception as error:
        board.fail(f"the demo cannot follow what happens: {type(error).__name__}: {error}")


async def _follow(
    api: Any, group: str, version: str, namespace: str, plural: str, saw: Callable[[str, dict[str, Any]], None]
) -> None:
    """Watch one kind; without a resourceVersion the watch begins with what there is."""
    listing = client.CustomObjectsApi(api).list_namespaced_custom_object
    stream = watch.Watch().stream(listing, group, version, namespace, plural)  # type: ignore[no-untyped-call]
    async for event in stream:
        saw(event["type"], event["object"])


async def _read_once(
    board: Board, sessions: SessionsClient, http: aiohttp.ClientSession, metrics_url: str, alive: Callable[[], str]
) -> None:
    while True:
        if died := alive():
            return board.fail(died)
        try:
            board.saw_sessions(await sessions.sessions(), await sessions.calls())
            async with http.get(metrics_url) as answer:
                board.saw_metrics(Metrics.parse(await answer.text()))
        except (aiohttp.ClientError, TimeoutError) as error:
            if not (died := alive()):
                raise
            return board.fail(f"{died} ({error})")
        await asyncio.sleep(_POLL_SECONDS)
