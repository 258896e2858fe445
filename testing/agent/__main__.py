"""`python -m testing.agent`: prints its URL, and serves until its stdin closes. JSON-RPC is at `/a2a`."""

import asyncio
import logging
import socket
import sys

import uvicorn
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_jsonrpc_routes, create_rest_routes
from a2a.types.a2a_pb2 import AgentCapabilities, AgentCard, AgentInterface
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from testing.agent.executor import Executor
from testing.agent.faults import Contexts, Faults, Faulty, Store


def application(url: str) -> Faulty:
    """The agent at this URL."""
    faults = Faults(Executor())
    card = AgentCard(
        name="Test agent",
        description="Does what the first word of a message says",
        version="1.0.0",
        supported_interfaces=[
            AgentInterface(url=f"{url}/a2a", protocol_binding="JSONRPC", protocol_version="1.0"),
            AgentInterface(url=url, protocol_binding="HTTP+JSON", protocol_version="1.0"),
        ],
        capabilities=AgentCapabilities(),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
    )
    handler = DefaultRequestHandler(
        agent_executor=faults.executor,
        task_store=Store(faults),
        agent_card=card,
        request_context_builder=Contexts(faults),
    )

    async def control(request: Request) -> JSONResponse:
        if request.method == "POST":
            faults.set(await request.json())
        return JSONResponse({"calls": faults.calls})

    routes = [
        Route("/control", control, methods=["GET", "POST"]),
        *create_jsonrpc_routes(handler, "/a2a"),
        *create_rest_routes(handler),
    ]
    return Faulty(Starlette(routes=routes), faults)


async def _serve() -> None:
    logging.disable(logging.CRITICAL)
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(application(url), log_level="critical", timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(_serve())
