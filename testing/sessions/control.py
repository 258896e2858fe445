"""What the demo and the tests ask of the service itself: its log, and its faults. None of it is in the log."""

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from testing.sessions.api import read
from testing.sessions.changes import Changes
from testing.sessions.errors import Refusal
from testing.sessions.faults import Faults, ServiceFault
from testing.sessions.journal import Journal


class Release(BaseModel):
    """POST /control/rules/{id}/release: how many held calls go on. Left out, all do and the rule is over."""

    model_config = ConfigDict(extra="forbid")

    count: int | None = Field(default=None, ge=1)


class Control:
    """The handlers."""

    def __init__(self, journal: Journal, faults: Faults, changes: Changes) -> None:
        self._journal = journal
        self._faults = faults
        self._changes = changes

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [
            web.get("/healthz", self.healthz),
            web.get("/log", self.log),
            web.post("/control/rules", self.add),
            web.get("/control/rules", self.list_rules),
            web.get("/control/rules/{id}", self.get_rule),
            web.post("/control/rules/{id}/release", self.release),
            web.delete("/control/rules/{id}", self.remove),
        ]

    async def healthz(self, request: web.Request) -> web.Response:
        """That it is there."""
        return web.json_response({"status": "ok"})

    async def log(self, request: web.Request) -> web.Response:
        """All calls, or those of `run` or `job`."""
        entries = self._journal.find(run=request.query.get("run"), job=request.query.get("job"))
        return web.json_response([entry.as_json() for entry in entries])

    async def add(self, request: web.Request) -> web.Response:
        """A new rule."""
        return web.json_response(self._faults.add(await read(request, ServiceFault)).as_json(), status=201)

    async def list_rules(self, request: web.Request) -> web.Response:
        """All rules with their hits and what they hold now."""
        return web.json_response([rule.as_json() for rule in self._faults.rules.values()])

    async def get_rule(self, request: web.Request) -> web.Response:
        """One rule; with `held=N`, once it holds at least that many, or 504 after `seconds` (default 30)."""
        rule = self._faults.get(request.match_info["id"])
        try:
            wanted = int(request.query.get("held", "0"))
            seconds = float(request.query.get("seconds", "30"))
        except ValueError:
            raise Refusal(400, "held and seconds are numbers") from None
        try:
            await self._changes.until(lambda: rule.held >= wanted, seconds, f"{rule.id} to hold {wanted} calls")
        except TimeoutError as error:
            raise Refusal(504, f"{error}; it holds {rule.held}") from None
        return web.json_response(rule.as_json())

    async def release(self, request: web.Request) -> web.Response:
        """Lets held calls go on."""
        rule = self._faults.get(request.match_info["id"])
        released = rule.release((await read(request, Release)).count)
        return web.json_response({**rule.as_json(), "released": released})

    async def remove(self, request: web.Request) -> web.Response:
        """Takes a rule out of force and lets go on what it holds."""
        return web.json_response(self._faults.remove(request.match_info["id"]).as_json())
