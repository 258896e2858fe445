"""What is in the cluster, followed by watches, and told to every open page as it changes."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any, Final

from curation.api.approval import CurationApproval
from curation.cli.access import parse_all
from curation.cli.dashboard.rows import Row, key_of, row
from curation.cluster.answers import Document
from curation.cluster.connection import Connection
from curation.cluster.follow import Changed, Failed, Listed, follow
from curation.cluster.resources import APPROVALS, CLUSTER_POLICIES, JOBS, MODULES, POLICIES, ResourceKind

FOLLOWED: Final = (JOBS, APPROVALS, MODULES, POLICIES, CLUSTER_POLICIES)
BATCH_SECONDS: Final = 0.1
"""Changes are told together: a burst of a thousand is ten messages and not a thousand."""
MAX_PAGES: Final = 16
_ALIVE_SECONDS: Final = 15.0


class TooManyPages(Exception):
    """More pages are open than one person looks at."""


class Feed:
    """For one event loop: `run` it; each page has a `told`."""

    def __init__(self, connection: Connection, namespace: str | None) -> None:
        """`namespace` None: all of them."""
        self._connection = connection
        self._namespace = namespace
        self._objects: dict[ResourceKind, dict[str, Document]] = {kind: {} for kind in FOLLOWED}
        self._rows: dict[ResourceKind, dict[str, Row]] = {kind: {} for kind in FOLLOWED}
        self._troubles: dict[ResourceKind, str] = {}
        self._seen: set[ResourceKind] = set()
        self._pages: set[_Page] = set()

    async def run(self) -> None:
        """Follow all kinds, without end."""
        async with asyncio.TaskGroup() as group:
            for kind in FOLLOWED:
                group.create_task(self._follow(kind))

    def find(self, kind: ResourceKind, namespace: str, name: str) -> Document | None:
        """The object in the newest version that was seen."""
        return self._objects[kind].get(f"{namespace}/{name}")

    def approvals(self, namespace: str) -> list[CurationApproval]:
        """Those of a namespace that can be read."""
        found, _ = parse_all(CurationApproval, self._in(APPROVALS, namespace))
        return [approval for _, approval in found]

    def users(self, namespace: str, module: str) -> list[str]:
        """The jobs of a module, and so of a grant to it; by name."""
        return sorted(
            str(job["metadata"]["name"])
            for job in self._in(JOBS, namespace)
            if job.get("spec", {}).get("moduleRef", {}).get("name") == module
        )

    async def told(self) -> AsyncGenerator[str, None]:
        """All there is, and then what changes, as JSON; an empty text while nothing does. Raises `TooManyPages`."""
        if len(self._pages) >= MAX_PAGES:
            raise TooManyPages
        page = _Page()
        self._pages.add(page)
        try:
            for kind in FOLLOWED:
                page.put(kind, self._all(kind))
            while True:
                message = await page.next()
                yield message
        finally:
            self._pages.discard(page)

    def _in(self, kind: ResourceKind, namespace: str) -> list[Document]:
        return [each for key, each in self._objects[kind].items() if key.partition("/")[0] == namespace]

    def _all(self, kind: ResourceKind) -> dict[str, Any]:
        return {
            "kind": kind.plural,
            "all": self._rows[kind],
            "seen": kind in self._seen,
            "trouble": self._troubles.get(kind, ""),
        }

    async def _follow(self, kind: ResourceKind) -> None:
        namespace = self._namespace if kind.namespaced else None
        async for news in follow(self._connection, kind, namespace):
            match news:
                case Listed(objects):
                    self._seen.add(kind)
                    self._troubles.pop(kind, None)
                    self._objects[kind] = {key_of(each): _shown(each) for each in objects}
                    self._rows[kind] = {key_of(each): row(kind, each) for each in objects}
                    self._tell(kind, self._all(kind))
                case Changed(found, gone):
                    key = key_of(found)
                    if gone:
                        self._objects[kind].pop(key, None)
                        self._rows[kind].pop(key, None)
                        self._tell(kind, {"kind": kind.plural, "rows": {key: None}})
                    else:
                        self._objects[kind][key] = _shown(found)
                        now = row(kind, found)
                        if self._rows[kind].get(key) != now:
                            self._rows[kind][key] = now
                            self._tell(kind, {"kind": kind.plural, "rows": {key: now}})
                case Failed(forbidden, message):
                    said = "you may not see them" if forbidden else message
                    if self._troubles.get(kind) != said:
                        self._troubles[kind] = said
                        if forbidden:
                            self._objects[kind], self._rows[kind] = {}, {}
                        self._tell(kind, self._all(kind))

    def _tell(self, kind: ResourceKind, message: dict[str, Any]) -> None:
        for page in self._pages:
            page.put(kind, message)


def _shown(document: Document) -> Document:
    """Without what no page shows, and what is half of it."""
    document["metadata"].pop("managedFields", None)
    return document


class _Page:
    """What one page has not been told yet: of each object only the newest, so nothing piles up."""

    def __init__(self) -> None:
        self._waiting: dict[ResourceKind, dict[str, Any]] = {}
        self._wake = asyncio.Event()

    def put(self, kind: ResourceKind, message: dict[str, Any]) -> None:
        before = self._waiting.get(kind)
        if "all" in message or before is None:
            self._waiting[kind] = {
                name: dict(part) if isinstance(part, dict) else part for name, part in message.items()
            }
        elif "all" in before:
            for key, now in message["rows"].items():
                if now is None:
                    before["all"].pop(key, None)
                else:
                    before["all"][key] = now
        else:
            before["rows"].update(message["rows"])
        self._wake.set()

    async def next(self) -> str:
        try:
            async with asyncio.timeout(_ALIVE_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return ""
        await asyncio.sleep(BATCH_SECONDS)
        self._wake.clear()
        waiting, self._waiting = self._waiting, {}
        return json.dumps(list(waiting.values()), separators=(",", ":"))
