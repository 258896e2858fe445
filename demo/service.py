"""The demo's view of the session service, over HTTP: its sessions, its log, and the order to hold answers back."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import aiohttp

from demo.board import DemoFailed
from demo.facts import Call, Session


class SessionsClient:
    """A client of `python -m testing.sessions` at `url`; an async context manager."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = aiohttp.ClientSession(url)
        self._holding: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            # Whoever ends the demo early deletes its jobs next, and one whose call is kept back would stay for minutes.
            for rule in tuple(self._holding):
                with suppress(aiohttp.ClientError, DemoFailed):
                    await self.release(rule)
        finally:
            await self._http.close()

    async def sessions(self) -> tuple[Session, ...]:
        """All sessions ever made."""
        return tuple(map(Session.parse, await self._ask("GET", "/sessions")))

    async def calls(self) -> tuple[Call, ...]:
        """All calls of runs; the log has the demo's own calls too, which name no run."""
        return tuple(Call.parse(entry) for entry in await self._ask("GET", "/log") if entry["runID"])

    async def hold_answers(self, path: str, *, generation: int) -> str:
        """From now on, do the work of these calls, and keep their answers back. Returns the rule's id."""
        rule = {"action": "hold", "when": "after", "method": "POST", "path": path, "generation": generation}
        made: dict[str, str] = await self._ask("POST", "/control/rules", rule)
        self._holding.add(made["id"])
        return made["id"]

    async def held(self, rule: str) -> int:
        """How many answers a rule keeps back now."""
        found: dict[str, int] = await self._ask("GET", f"/control/rules/{rule}")
        return found["held"]

    async def release(self, rule: str) -> int:
        """Give all the answers that were kept back. Returns their number."""
        self._holding.discard(rule)
        done: dict[str, int] = await self._ask("POST", f"/control/rules/{rule}/release", {})
        return done["released"]

    async def _ask(self, method: str, path: str, body: object = None) -> Any:
        async with self._http.request(method, path, json=body) as answer:
            if answer.status >= 300:
                raise DemoFailed(f"the session service answered {method} {path} with {answer.status}")
            return await answer.json()
