"""An operator's page of metrics, as it is now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from curation.reconciler.runtime.health_server import RENDER_SECONDS


class MetricsPage:
    """Of one operator, which nobody else asks."""

    def __init__(self, fetch: Callable[[], Awaitable[str]]) -> None:
        """`fetch` asks the operator for the text."""
        self._fetch = fetch
        self._kept_until = 0.0

    async def text(self) -> str:
        """What the operator counts now."""
        # Trap: a page that was made for an earlier question is given again for a while.
        await asyncio.sleep(self._kept_until - time.monotonic())
        text = await self._fetch()
        self._kept_until = time.monotonic() + RENDER_SECONDS
        return text
