"""Whom the client trusts: the one place that makes the TLS context of outbound connections."""

import asyncio
import os
import ssl
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


class Trust:
    """The system's authorities, and those of ``ca_bundle``, a PEM file or what one holds.

    `renew` takes both anew from their files.
    """

    def __init__(self, ca_bundle: Path | bytes | None = None) -> None:
        self._bundle = ca_bundle
        self.content: bytes | None = None
        """What the bundle held when it was taken last: for a process that is to trust the same."""
        system = ssl.get_default_verify_paths().cafile  # SSL_CERT_FILE too; None where there is no such file
        self._system: Path | None = Path(system) if system is not None else None
        try:
            self._context, self.content = self._made()
        except (OSError, ValueError):
            # An image may come with an empty file of the system's, and trust its folder alone.
            self._system = None
            self._context, self.content = self._made()

    @property
    def context(self) -> ssl.SSLContext:
        """For the next connection. No session is ever resumed: each connection has a full handshake of its own."""
        return self._context

    def files(self) -> Sequence[Path]:
        """What `renew` reads."""
        return [file for file in (self._system, self._bundle) if isinstance(file, Path)]

    async def renew(self) -> None:
        """Trust what is in the files now, and no more what was. Raises OSError or ValueError; then nothing changes."""
        self._context, self.content = await asyncio.to_thread(self._made)

    def replace(self, ca_bundle: bytes | None) -> None:
        """Trust these authorities beside the system's, and no more those before. Raises OSError or ValueError."""
        self._bundle = ca_bundle
        self._context, self.content = self._made()

    def _made(self) -> tuple[ssl.SSLContext, bytes | None]:
        if self._system is None:
            context = ssl.create_default_context()
        else:
            # Trap: if the library itself searches for the system's file, it says nothing of one that is empty or gone.
            context = ssl.create_default_context(cafile=self._system, capath=ssl.get_default_verify_paths().capath)
        # What is spoken here, for servers that would else choose HTTP/2.
        context.set_alpn_protocols(["http/1.1"])
        content = self._bundle.read_bytes() if isinstance(self._bundle, Path) else self._bundle
        if content is not None:
            # Trap: the library takes a text too, but of a file also comments and further kinds of PEM.
            with _file_of(content) as name:
                context.load_verify_locations(cafile=name)
        return context, content


@contextmanager
def _file_of(content: bytes) -> Iterator[str]:
    """The name of a file that holds this: on Linux in memory, since a worker may have no folder to write to."""
    if sys.platform != "linux":
        with tempfile.NamedTemporaryFile() as copy:
            copy.write(content)
            copy.flush()
            yield copy.name
        return
    with os.fdopen(os.memfd_create("authorities", os.MFD_CLOEXEC), "wb") as memory:
        memory.write(content)
        memory.flush()
        yield f"/proc/self/fd/{memory.fileno()}"
