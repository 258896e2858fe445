"""The service as a whole: `async with SessionService() as service:` serves at `service.url`."""

import asyncio
from collections.abc import Callable
from typing import Any, Literal

from aiohttp import web
from aiohttp.typedefs import Handler

from testing.sessions.api import Api
from testing.sessions.changes import Changes
from testing.sessions.control import Control
from testing.sessions.errors import Refusal
from testing.sessions.faults import Faults, Rule, ServiceFault, Sleep
from testing.sessions.journal import Entry, Journal
from testing.sessions.pipeline import Pipeline
from testing.sessions.store import Session, Store

_OUTSIDE_THE_LOG = ("/control/", "/log", "/healthz")


class SessionService:
    """A session service on a port of this machine, for one event loop.

    :param port: 0 for a free one.
    :param require_header: name and value that every call of the API must carry, or it is answered 401.
    :param sleep: how the `seconds` of a rule pass.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        require_header: tuple[str, str] | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.url = ""
        self._host, self._port = host, port
        self._changes = Changes()
        self._store = Store(self._changes.notify)
        self._journal = Journal(self._changes.notify, require_header[0] if require_header else None)
        self._faults = Faults(self._changes.notify, sleep)
        self._pipeline = Pipeline(self._journal, self._faults, require_header)
        self._api = Api(self._store)
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> "SessionService":
        app = web.Application(middlewares=[self._middleware], client_max_size=16 * 2**20)
        app.add_routes(self._api.routes())
        app.add_routes(Control(self._journal, self._faults, self._changes).routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        port = self._runner.addresses[0][1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.url = self._api.base_url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for identifier in list(self._faults.rules):
            self._faults.remove(identifier)
        assert self._runner is not None
        await self._runner.cleanup()

    # -- faults -----------------------------------------------------------------------------------------------------

    def add_rule(
        self,
        action: Literal["hold", "delay", "fail", "drop", "malformed"],
        when: Literal["before", "after"] = "before",
        **fields: Any,
    ) -> Rule:
        """Puts a rule in force; its other fields are those of `testing.sessions.faults.ServiceFault`."""
        return self._faults.add(ServiceFault(action=action, when=when, **fields))

    def remove_rule(self, rule: Rule) -> None:
        """Takes a rule out of force and lets go on what it holds."""
        self._faults.remove(rule.id)

    async def wait_held(self, rule: Rule, count: int = 1, seconds: float = 30) -> None:
        """Returns once the rule holds at least that many calls.

        :raises TimeoutError: after `seconds`.
        """
        await self.wait_until(lambda: rule.held >= count, seconds, f"{rule.id} to hold {count} calls")

    async def wait_until(
        self, condition: Callable[[], bool], seconds: float = 30, what: str = "a state of the session service"
    ) -> None:
        """Returns once the condition, checked after each change of the service, holds.

        :raises TimeoutError: after `seconds`, naming `what`.
        """
        await self._changes.until(condition, seconds, what)

    # -- the verdict ------------------------------------------------------------------------------------------------

    def sessions(self, *, run: str | None = None, job: str | None = None, state: str | None = None) -> list[Session]:
        """The sessions ever made, of a run, of a job's uid, or all, oldest first."""
        return self._store.find(run=run, job=job, state=state)

    def live_sessions(self, *, run: str | None = None, job: str | None = None) -> list[Session]:
        """The sessions in which an agent works now: what each test of a stale run checks in the end."""
        return self._store.find(run=run, job=job, live=True)

    def live_workspaces(self) -> list[str]:
        """The ids of the workspaces that were not cancelled."""
        return [workspace.id for workspace in self._store.workspaces.values() if workspace.state == "active"]

    def log(self, *, run: str | None = None, job: str | None = None) -> list[Entry]:
        """The calls of a run, of a job's uid, or all, in the order of arrival."""
        return self._journal.find(run=run, job=job)

    # -- acting as the agent ----------------------------------------------------------------------------------------

    def complete(self, session: str, output: Any = None) -> None:
        """The agent of the session is done."""
        self._store.end(session, "completed", output=output)

    def fail(self, session: str, reason: str | None = None) -> None:
        """The agent of the session gave up."""
        self._store.end(session, "failed", reason=reason)

    def report(self, session: str, progress: Any) -> None:
        """The agent of the session reports its progress."""
        self._store.report(session, progress)

    def cancel(self, session: str) -> None:
        """Somebody else ends the session."""
        self._store.cancel(session)

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith(_OUTSIDE_THE_LOG):
            return await self._pipeline.handle(request, handler)
        try:
            return await handler(request)
        except Refusal as refusal:
            return web.json_response({"error": {"message": refusal.message}}, status=refusal.status)
