"""The template of workers, checkers, compilers and the door: it imports what they need, once, and forks them."""

import encodings.idna  # noqa: F401 - the first name that is looked up imports it
import socket

from curation.authz import parsed_schema
from curation.checking import checker
from curation.egress import trust
from curation.isolation.template import serve
from curation.pods import door
from curation.wasm import compile_child
from curation.workers import worker

TARGETS = (worker.main, checker.main, compile_child.main, door.main)
"""What its children do: imported here, so that they need not."""


def main(channel: socket.socket) -> None:
    """See `isolation.template`."""
    trust.prepare()
    parsed_schema.schema()
    serve(channel)
