"""The template of workers, checkers, compilers and the door: it imports what they need, once, and forks them."""

import socket

from curation.checking import checker
from curation.isolation.template import serve
from curation.pods import door
from curation.wasm import compile_child
from curation.workers import worker

TARGETS = (worker.main, checker.main, compile_child.main, door.main)
"""What its children do: imported here, so that they need not."""


def main(channel: socket.socket) -> None:
    """See `isolation.template`."""
    serve(channel)
