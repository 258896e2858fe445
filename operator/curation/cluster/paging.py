"""A list of the API server, page by page: the one loop, for whoever lists, watches or sweeps."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from curation.cluster.answers import APIError, Document, Failure, Unreachable
from curation.cluster.connection import JSON, Connection
from curation.cluster.resources import ResourceKind

# client-go's default page; kube-apiserver bounds the memory of a list by pages.
PAGE_SIZE: Final = 500
BEGINNINGS: Final = 3
"""How often a list that has expired before its end is begun."""
EMPTY_PAGES: Final = 100
"""Pages of nothing, one after the other, that a list may have."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the objects, and the resourceVersion that the whole list is of: a watch goes on from there."""

    items: list[Document]
    version: str
    begins: bool = False
    """The list begins with it: what came before, of a list that had expired, is part of no snapshot of anything."""


async def whole_list(
    connection: Connection, kind: ResourceKind, namespace: str | None, *, query: dict[str, str] | None = None
) -> AsyncIterator[Page]:
    """The pages of a list that is begun again when it has expired, `BEGINNINGS` times. Raises as `pages` does."""
    for left in reversed(range(BEGINNINGS)):
        try:
            async for page in pages(connection, kind, namespace, query=query):
                yield page
        except APIError as error:
            if error.code != 410 or not left:
                raise
        else:
            return


async def pages(
    connection: Connection,
    kind: ResourceKind,
    namespace: str | None,
    *,
    accept: str = JSON,
    query: dict[str, str] | None = None,
    snapshot: bool = False,
) -> AsyncIterator[Page]:
    """All objects, of one namespace or of all. Raises `APIError` and `Unreachable`.

    A list that outlives the server's history (5 min) goes on from the present, once for each page; as a `snapshot`,
    whose objects are all of one moment, it ends with the error 410 instead.
    """
    token, begins, resumed, asked, first_ones, empty = "", True, False, set[str](), set[str](), 0
    while True:
        page = {**(query or {}), "limit": str(PAGE_SIZE), **({"continue": token} if token else {})}
        answer = await connection.send("GET", kind.path(namespace), query=page, accept=accept)
        if isinstance(answer, Failure):
            # 410: the token is older than the server's history; its Status holds one to go on with.
            resume = str(answer.metadata.get("continue") or "")
            if answer.code != 410 or not resume or resumed or snapshot:
                raise answer.error()
            token, resumed = resume, True
            continue
        resumed = False
        items: list[Document] = answer.get("items") or []
        yield Page(items, str(answer["metadata"].get("resourceVersion") or ""), begins)
        begins = False
        token = answer["metadata"].get("continue") or ""
        if not token:
            return
        # Pages are in order: none begins with the object that another one began with, whatever its token.
        first = str(items[0]["metadata"].get("uid", "")) if items else ""
        empty = 0 if items else empty + 1
        if token in asked or (first and first in first_ones) or empty > EMPTY_PAGES:
            raise Unreachable(f"the list of {kind.plural} does not end: one of its pages leads back to an earlier one")
        asked.add(token)
        first_ones.add(first)
