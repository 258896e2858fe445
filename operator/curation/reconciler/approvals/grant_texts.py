"""The Cedar texts of approvals, for their statuses: written by checkers, and kept while an approval is what it was."""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from cachetools import LRUCache

from curation.api.approval import CurationApproval
from curation.authz.grant import Grant
from curation.checking.checkers import CheckerLost

log = logging.getLogger(__name__)

MAX_KEPT: Final = 2048
"""Texts of up to 64 KiB, most of under one; one more costs a question."""


class GrantTexts:
    """For one event loop."""

    def __init__(self, write: Callable[[Grant], Awaitable[str]]) -> None:
        """`write` is `Checkers.write_grant`."""
        self._write = write
        self._kept: LRUCache[tuple[str, int], str] = LRUCache(MAX_KEPT)

    async def of(self, approval: CurationApproval) -> str | None:
        """The text of the policy that an Approved decision puts in force; None if no checker answers now."""
        meta = approval.metadata
        version = (meta.uid, meta.generation)
        text = self._kept.get(version)
        if text is None:
            try:
                text = self._kept[version] = await self._write(Grant.of(approval))
            except CheckerLost as error:
                log.warning("the Cedar text of approval %s/%s is not known yet: %s", meta.namespace, meta.name, error)
        return text
