"""The Cedar texts of approvals, for their statuses: written by checkers, and kept while an approval is what it was."""

from collections.abc import Awaitable, Callable
from typing import Final

from cachetools import LRUCache

from curation.api.approval import CurationApproval
from curation.authz.grant import Grant

MAX_KEPT: Final = 2048
"""Texts of up to 64 KiB, most of under one; one more costs a question."""


class GrantTexts:
    """For one event loop."""

    def __init__(self, write: Callable[[Grant], Awaitable[str]]) -> None:
        """`write` is `Checkers.write_grant`."""
        self._write = write
        self._kept: LRUCache[tuple[str, int], str] = LRUCache(MAX_KEPT)

    async def of(self, approval: CurationApproval) -> str:
        """The text of the policy that an Approved decision puts in force. Raises CheckerLost."""
        meta = approval.metadata
        version = (meta.uid, meta.generation)
        text = self._kept.get(version)
        if text is None:
            text = self._kept[version] = await self._write(Grant.of(approval))
        return text
