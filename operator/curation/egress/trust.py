"""Whom the client trusts: the one place that makes the TLS context of outbound connections."""

import asyncio
import ssl
from collections.abc import Sequence
from pathlib import Path


class Trust:
    """The system's authorities, and those of ``ca_bundle``, a PEM file. `renew` takes both anew from their files."""

    def __init__(self, ca_bundle: Path | None = None) -> None:
        bundle = [ca_bundle] if ca_bundle is not None else []
        system = ssl.get_default_verify_paths().cafile  # SSL_CERT_FILE too; None where there is no such file
        self._files = [*([Path(system)] if system is not None and _is_of_use(system) else ()), *bundle]
        self._context = self._made()

    @property
    def context(self) -> ssl.SSLContext:
        """For the next connection. No session is ever resumed: each connection has a full handshake of its own."""
        return self._context

    def files(self) -> Sequence[Path]:
        """What `renew` reads."""
        return tuple(self._files)

    async def renew(self) -> None:
        """Trust what is in the files now, and no more what was. Raises OSError or ValueError; then nothing changes."""
        self._context = await asyncio.to_thread(self._made)

    def _made(self) -> ssl.SSLContext:
        context = _system()
        # Trap: of the system's own files the library says nothing where they are empty, damaged or gone.
        for file in self._files:
            context.load_verify_locations(cafile=file)
        return context


def _is_of_use(file: str) -> bool:
    """An image may come with an empty file of the system's, or trust its folder alone."""
    try:
        ssl.create_default_context().load_verify_locations(cafile=file)
    except (OSError, ValueError):
        return False
    return True


def _system() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # What is spoken here, for servers that would else choose HTTP/2.
    context.set_alpn_protocols(["http/1.1"])
    return context
