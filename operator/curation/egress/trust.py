"""Whom the client trusts: the one place that makes the TLS context of outbound connections."""

import asyncio
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from curation.isolation.memory_file import file_of


class Trust:
    """The system's authorities, and those of ``ca_bundle``, a PEM file or what one holds.

    `renew` takes both anew from their files. To take them is 30 ms of processor time: with `at_once` false that is done
    for the first connection that needs them, which then fails with what is wrong.
    """

    def __init__(self, ca_bundle: Path | bytes | None = None, *, at_once: bool = True) -> None:
        """Raises OSError and ValueError for authorities that are no use, if they are taken at once."""
        self._bundle = ca_bundle
        self._context: ssl.SSLContext | None = None
        self.content: bytes | None = None
        """What the bundle held when it was taken last: for a process that is to trust the same."""
        self._system = _system()
        if at_once:
            self._context = self._first()

    @property
    def context(self) -> ssl.SSLContext:
        """For the next connection. No session is ever resumed: each connection has a full handshake of its own.

        Raises OSError and ValueError if they are taken now, and no use.
        """
        if self._context is None:
            self._context = self._first()
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
        if self._context is not None:
            self._context, self.content = self._made()

    def _first(self) -> ssl.SSLContext:
        try:
            context, self.content = self._made()
        except (OSError, ValueError):
            # An image may come with an empty file of the system's, and trust its folder alone.
            self._system = None
            context, self.content = self._made()
        return context

    def _made(self) -> tuple[ssl.SSLContext, bytes | None]:
        content = self._bundle.read_bytes() if isinstance(self._bundle, Path) else self._bundle
        prepared = _Prepared.now
        if content is None and prepared is not None and prepared.files == _files(self._system):
            return prepared.context, None
        context = _of_system(self._system)
        if content is not None:
            # Trap: the library takes a text too, but of a file also comments and further kinds of PEM.
            with file_of(content) as name:
                context.load_verify_locations(cafile=name)
        return context, content


@dataclass(frozen=True, slots=True)
class _Prepared:
    """The context of the system's authorities alone, as they were in these files."""

    now: ClassVar["_Prepared | None"] = None

    context: ssl.SSLContext
    files: tuple[object, ...]


def prepare() -> None:
    """Take the system's authorities, for the processes that are forked from this one while their files stay as they
    are. What is no use is left to those."""
    file = _system()
    with suppress(OSError, ValueError):
        files = _files(file)
        _Prepared.now = _Prepared(_of_system(file), files)


def _system() -> Path | None:
    """The system's file of authorities, that of SSL_CERT_FILE too; None where there is no such file."""
    found = ssl.get_default_verify_paths().cafile
    return Path(found) if found is not None else None


def _of_system(file: Path | None) -> ssl.SSLContext:
    if file is None:
        context = ssl.create_default_context()
    else:
        # Trap: if the library itself searches for the system's file, it says nothing of one that is empty or gone.
        context = ssl.create_default_context(cafile=file, capath=ssl.get_default_verify_paths().capath)
    # What is spoken here, for servers that would else choose HTTP/2.
    context.set_alpn_protocols(["http/1.1"])
    return context


def _files(file: Path | None) -> tuple[object, ...]:
    """Which files hold the system's authorities, and in which state. Raises OSError."""
    folder = ssl.get_default_verify_paths().capath
    names = [file, _system(), Path(folder) if folder is not None else None]
    states = [(name, name.stat()) for name in names if name is not None]
    return tuple((name, state.st_ino, state.st_size, state.st_mtime_ns) for name, state in states)
