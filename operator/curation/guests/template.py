"""The template of guest hosts: it has imported the standard library, the wire format and wasmtime, and forks them."""

import socket

from curation.guests import host
from curation.isolation.template import serve

TARGETS = (host.main,)
"""What its children do: imported here, so that they need not."""


def main(channel: socket.socket) -> None:
    """See `isolation.template`."""
    serve(channel)
