"""What goes wrong with the agent, set by a POST to `/control`; `{}` mends all.

| key            | meaning                                                                         |
|----------------|---------------------------------------------------------------------------------|
| `fail`         | by call (SendMessage, ...): the HTTP status that is answered, nothing is done   |
| `lose`         | calls that are done, and answered with 502                                      |
| `hold`         | calls that are done, and never answered                                         |
| `refuse`       | at true, CancelTask is answered with TaskNotCancelableError, nothing is done    |
| `put_off`      | at true, CancelTask is answered with the task as it is, nothing is done         |
| `no_list`      | the agent cannot list its tasks                                                 |
| `one_page`     | the agent breaks when it is asked for a second page of its tasks                |
| `no_context`   | tasks that are listed have no context id                                        |
| `context`      | the agent takes this context id in the place of a client's                      |
| `own_contexts` | the agent takes no context id that it has not made                              |
| `finish`       | at once: a task that is to complete                                             |
"""

import asyncio
import json
import re
from dataclasses import dataclass, field
from typing import Any

from a2a.server.agent_execution import SimpleRequestContextBuilder
from a2a.server.context import ServerCallContext
from a2a.server.tasks import InMemoryTaskStore
from a2a.types.a2a_pb2 import ListTasksRequest, ListTasksResponse
from a2a.utils.errors import InternalError, InvalidParamsError, UnsupportedOperationError
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from testing.agent.executor import Executor


@dataclass
class Faults:
    """What goes wrong now, and what was called."""

    executor: Executor
    now: dict[str, Any] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def set(self, document: dict[str, Any]) -> None:
        """Replace all faults."""
        self.now = document
        if "finish" in document:
            self.executor.finish(document["finish"])


class Store(InMemoryTaskStore):
    """Tasks that may not be listed."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults = faults

    async def list(self, params: ListTasksRequest, context: ServerCallContext) -> ListTasksResponse:
        """See the SDK."""
        if self._faults.now.get("no_list"):
            raise UnsupportedOperationError
        if self._faults.now.get("one_page") and params.page_token:
            raise InternalError
        listed = await super().list(params, context)
        if not self._faults.now.get("no_context"):
            return listed
        nameless = ListTasksResponse()
        nameless.CopyFrom(listed)
        for task in nameless.tasks:
            task.ClearField("context_id")
        return nameless


class Contexts(SimpleRequestContextBuilder):
    """Contexts that may not come from a client."""

    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self._faults = faults

    async def build(self, *args: Any, **kwargs: Any) -> Any:
        """See the SDK."""
        if self._faults.now.get("own_contexts") and kwargs.get("context_id"):
            raise InvalidParamsError(message="contextId is not one of this agent's")
        if self._faults.now.get("context") and kwargs.get("params"):
            kwargs["context_id"] = kwargs["params"].message.context_id = self._faults.now["context"]
        return await super().build(*args, **kwargs)


class Faulty:
    """Middleware: a call is refused, lost, or held."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["path"].startswith("/control"):
            await self._app(scope, receive, send)
            return
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        call = _call(scope, body)
        self._faults.calls.append(call)
        now = self._faults.now
        if call in now.get("fail", {}):
            await _answered(now["fail"][call], scope, receive, send)
        elif call in [*now.get("lose", ()), *now.get("hold", ())]:
            held = call in now.get("hold", ())
            await self._app(scope, _again(body), _nowhere)
            if held:
                await asyncio.Event().wait()
            await _answered(502, scope, receive, send)
        elif call == "CancelTask" and now.get("refuse"):
            await _not_cancelable(scope, receive, send)
        elif call == "CancelTask" and now.get("put_off"):
            await self._app(*_as_get(scope, body), send)
        else:
            await self._app(scope, _again(body), send)


def _call(scope: Scope, body: bytes) -> str:
    path = scope["path"]
    if path.endswith("/message:send"):
        return "SendMessage"
    if path.endswith(":cancel"):
        return "CancelTask"
    if path.endswith("/tasks"):
        return "ListTasks"
    if re.search(r"/tasks/[^/]+$", path):
        return "GetTask"
    return str(json.loads(body or b"{}").get("method"))


def _again(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _nowhere(_: Message) -> None:
    pass


def _as_get(scope: Scope, body: bytes) -> tuple[Scope, Receive]:
    path = scope["path"]
    if path.endswith(":cancel"):
        got = path.removesuffix(":cancel")
        return {**scope, "method": "GET", "path": got, "raw_path": got.encode()}, _again(b"")
    return scope, _again(body.replace(b"CancelTask", b"GetTask"))


async def _not_cancelable(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"].endswith(":cancel"):
        details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "TASK_NOT_CANCELABLE"}]
        error = {"code": 400, "status": "FAILED_PRECONDITION", "message": "not now", "details": details}
        response = JSONResponse({"error": error}, 400)
    else:
        response = JSONResponse({"jsonrpc": "2.0", "id": 1, "error": {"code": -32002, "message": "not now"}})
    await response(scope, receive, send)


async def _answered(status: int, scope: Scope, receive: Receive, send: Send) -> None:
    response: Response = JSONResponse({"error": {"message": "told to fail"}}, status)
    await response(scope, receive, send)
