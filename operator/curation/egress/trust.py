"""Whom the client trusts: the one place that makes the TLS context of outbound connections."""

import ssl
from pathlib import Path


class Trust:
    """The system's authorities, and those of ``ca_bundle``, a PEM file."""

    def __init__(self, ca_bundle: Path | None = None) -> None:
        self._context = ssl.create_default_context()
        # What is spoken here, for servers that would else choose HTTP/2.
        self._context.set_alpn_protocols(["http/1.1"])
        if ca_bundle is not None:
            self._context.load_verify_locations(cafile=ca_bundle)

    @property
    def context(self) -> ssl.SSLContext:
        """For the next connection. No session is ever resumed: each connection has a full handshake of its own."""
        return self._context
