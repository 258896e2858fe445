"""The session service's own calls: reading a request, one step of the store, an answer."""

from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from testing.sessions.caller import RunCaller
from testing.sessions.errors import Refusal
from testing.sessions.store import Store

M = TypeVar("M", bound=BaseModel)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewWorkspace(_Body):
    """POST /workspaces."""

    name: str | None = None


class NewSession(_Body):
    """POST /sessions."""

    workspace: str
    message: str = Field(min_length=1)
    title: str | None = None
    agent: str | None = None


class CompletionBody(_Body):
    """POST /sessions/{id}/complete."""

    output: Any = None


class FailureBody(_Body):
    """POST /sessions/{id}/fail."""

    reason: str | None = None


class Api:
    """The handlers. `base_url` is what the service is reached by, for the URLs in its answers."""

    def __init__(self, store: Store) -> None:
        self.base_url = ""
        self._store = store

    def routes(self) -> list[web.RouteDef]:
        """All of them; whatever they raise as `Refusal` becomes an answer in `testing.sessions.pipeline`."""
        return [
            web.post("/workspaces", self.create_workspace),
            web.post("/sessions", self.create_session),
            web.get("/sessions", self.list_sessions),
            web.get("/sessions/{id}", self.get_session),
            web.post("/sessions/{id}/configure", self.configure),
            web.post("/sessions/{id}/progress", self.progress),
            web.post("/sessions/{id}/complete", self.complete),
            web.post("/sessions/{id}/fail", self.fail),
            web.post("/sessions/{id}/cancel", self.cancel),
            web.post("/runs/{id}/cancel", self.cancel_run),
        ]

    async def create_workspace(self, request: web.Request) -> web.Response:
        """Makes a workspace."""
        body = await read(request, NewWorkspace)
        workspace = self._store.create_workspace(RunCaller.from_headers(request.headers), body.name)
        return web.json_response(workspace.as_json(), status=201)

    async def create_session(self, request: web.Request) -> web.Response:
        """Makes a session."""
        body = await read(request, NewSession)
        caller = RunCaller.from_headers(request.headers)
        session = self._store.create_session(
            caller, self.base_url, body.workspace, body.message, body.title, body.agent
        )
        return web.json_response(session.as_json(), status=201)

    async def list_sessions(self, request: web.Request) -> web.Response:
        """Sessions by `run`, `job`, `state` and `live`."""
        query = request.query
        live = {"true": True, "false": False}.get(query.get("live", ""))
        found = self._store.find(run=query.get("run"), job=query.get("job"), state=query.get("state"), live=live)
        return web.json_response([session.as_json() for session in found])

    async def get_session(self, request: web.Request) -> web.Response:
        """One session."""
        return web.json_response(self._store.get(request.match_info["id"]).as_json())

    async def configure(self, request: web.Request) -> web.Response:
        """Any settings; sets the session running."""
        session = self._store.configure(request.match_info["id"], await read_object(request))
        return web.json_response(session.as_json())

    async def progress(self, request: web.Request) -> web.Response:
        """Any progress."""
        session = self._store.report(request.match_info["id"], await read_object(request))
        return web.json_response(session.as_json())

    async def complete(self, request: web.Request) -> web.Response:
        """Ends a session well."""
        body = await read(request, CompletionBody)
        session = self._store.end(request.match_info["id"], "completed", output=body.output)
        return web.json_response(session.as_json())

    async def fail(self, request: web.Request) -> web.Response:
        """Ends a session badly."""
        body = await read(request, FailureBody)
        session = self._store.end(request.match_info["id"], "failed", reason=body.reason)
        return web.json_response(session.as_json())

    async def cancel(self, request: web.Request) -> web.Response:
        """Ends a session from outside. One that has ended is answered as it is."""
        return web.json_response(self._store.cancel(request.match_info["id"]).as_json())

    async def cancel_run(self, request: web.Request) -> web.Response:
        """Ends all that a run has made, and refuses what it may yet try to make."""
        return web.json_response(self._store.cancel_run(request.match_info["id"]))


async def read_object(request: web.Request) -> dict[str, Any]:
    """The body as a JSON object; an empty body is an empty object.

    :raises Refusal: 400.
    """
    if not (await request.read()).strip():
        return {}
    try:
        body = await request.json()
    except ValueError:
        raise Refusal(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise Refusal(400, "the body must be a JSON object")
    return body


async def read(request: web.Request, model: type[M]) -> M:
    """The body as a model.

    :raises Refusal: 400, or 422 naming the field.
    """
    body = await read_object(request)
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise Refusal(422, describe(error)) from None


def describe(error: ValidationError) -> str:
    """What is wrong with a body, in one line."""
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors())
