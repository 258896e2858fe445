"""Every version of every object of one kind in a namespace, from before the first was made, by a watch."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Self

import aiohttp

from testing.admin_client import AdminClient, Document
from tests.oracles import flux, kstatus
from tests.oracles.history import check_history

_RECONNECT_SECONDS = 0.2


class History:
    """Records what a watch shows; an async context manager. `changed` is called after each new version."""

    def __init__(self, cluster: AdminClient, plural: str, changed: Callable[[], None]) -> None:
        self._cluster = cluster
        self._plural = plural
        self._changed = changed
        self._task: asyncio.Task[None] | None = None
        self._since = ""
        self.may_have_holes = False
        """For a test that changes the CRD: the server then forgets what its watches have not shown yet."""
        self.versions: dict[str, list[Document]] = {}
        """By uid, in the order of the watch; a deletion's last state included."""
        self.present: dict[str, Document] = {}
        """By name: the objects that exist, in their newest version."""

    async def __aenter__(self) -> Self:
        await self._list()
        self._task = asyncio.create_task(self._follow(), name=f"history of {self._plural}")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def check(self) -> None:
        """The invariants I1, I2, I3 and I10, the conditions and the bounds, over the whole history of each job."""
        self.check_complete()
        for versions in self.versions.values():
            check_history(versions)

    def check_statuses(self) -> None:
        """What kstatus and Flux make of each version of a module, policy or approval."""
        self.check_complete()
        for versions in self.versions.values():
            flux.check_conditions(versions)
            kstatus.check_readiness(versions)

    def check_complete(self) -> None:
        """Raise what ended the watch: a history with a hole proves nothing."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()

    async def _follow(self) -> None:
        while True:
            try:
                async for event in self._cluster.watch(self._plural, self._since):
                    if event["type"] == "ERROR":
                        await self._expired(str(event["object"]))
                        break
                    self._since = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        self._record(event["type"], event["object"])
            except aiohttp.ClientError as error:
                # The server was stopped by the test, or serves a CRD anew: the history goes on where it ended.
                if isinstance(error, aiohttp.ClientResponseError) and error.status == HTTPStatus.GONE:
                    await self._expired(str(error))
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _expired(self, why: str) -> None:
        if not self.may_have_holes:
            raise AssertionError(f"the history of {self._plural} has a hole: {why}")
        await self._list()

    async def _list(self) -> None:
        while True:
            code, found = await self._cluster.request("GET", self._cluster.path(self._plural))
            if code != 429:  # a kind whose CRD was changed sets its storage up anew, some time after the change
                break
            await asyncio.sleep(0.1)
        assert code == 200, found
        self.present = {}
        for item in found["items"]:
            self._record("ADDED", item)
        self._since = found["metadata"]["resourceVersion"]

    def _record(self, kind: str, obj: Document) -> None:
        metadata = obj["metadata"]
        self.versions.setdefault(metadata["uid"], []).append(obj)
        if kind == "DELETED":
            self.present.pop(metadata["name"], None)
        else:
            self.present[metadata["name"]] = obj
        self._changed()
