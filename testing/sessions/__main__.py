"""`python -m testing.sessions`: the session service as its own process. Its first line of output is its URL."""

import argparse
import asyncio
import os
import signal
import sys

from testing.sessions.service import SessionService

_FOR_EVER = 10 * 365 * 86_400.0


async def serve(arguments: argparse.Namespace) -> None:
    """Serves until SIGTERM or SIGINT, or until standard input ends where that was asked for."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if arguments.until_stdin_closes:
        standard_input = sys.stdin.fileno()
        loop.add_reader(standard_input, lambda: None if os.read(standard_input, 4096) else stop.set())
    async with SessionService(arguments.host, arguments.port, require_header=arguments.require_header) as service:
        print(service.url, flush=True)
        ending = None
        if arguments.complete_after is not None:
            ending = asyncio.create_task(complete_each(service, arguments.complete_after))
        await stop.wait()
        if ending is not None:
            ending.cancel()


async def complete_each(service: SessionService, seconds: float) -> None:
    """Completes each session so long after it began to run: there is no agent to do it."""
    seen: set[str] = set()

    def due() -> list[str]:
        return [session.id for session in service.sessions(state="running") if session.id not in seen]

    def complete(identifier: str) -> None:
        if any(session.id == identifier for session in service.live_sessions()):
            service.complete(identifier, {"ended": f"by itself, after {seconds:g} s"})

    while True:
        await service.wait_until(lambda: bool(due()), seconds=_FOR_EVER)
        for identifier in due():
            seen.add(identifier)
            asyncio.get_running_loop().call_later(seconds, complete, identifier)


def header(text: str) -> tuple[str, str]:
    """`NAME=VALUE` as a pair."""
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError("give it as NAME=VALUE")
    return name, value


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m testing.sessions", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (the default)")
    parser.add_argument("--require-header", type=header, metavar="NAME=VALUE", help="answer 401 to calls without it")
    parser.add_argument(
        "--complete-after", type=float, metavar="SECONDS", help="complete each session so long after it began to run"
    )
    parser.add_argument(
        "--until-stdin-closes", action="store_true", help="stop at the end of standard input, so with the parent"
    )
    asyncio.run(serve(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
