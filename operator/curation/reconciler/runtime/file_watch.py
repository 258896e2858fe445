"""Files that were named at start and are renewed in place: certificates, authorities, tokens, a kubeconfig."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

FILE_CHECK_SECONDS: Final = 5.0
"""Between two checks. A kubelet takes a minute to write a change of a Secret or ConfigMap into its volume."""

RETRY_SECONDS: Final = 60.0
"""Until what was refused is tried again although it has not changed: what it names may be there by then."""

Stamp = tuple[int, int, int, int] | None


@dataclass(frozen=True)
class RenewedFiles:
    """What was made of files."""

    files: Callable[[], Sequence[Path]]
    """Those that it was made of."""
    renew: Callable[[], Awaitable[None]]
    """Makes it anew of what is in them now. Raises if that is no use; then it stays as it was."""


class FileWatch:
    """Checks whether files have changed, and renews what was made of them.

    It reads their status and does not wait for the system's events: a volume of Kubernetes is renewed by exchanging a
    symbolic link of a folder above, and the file itself has no event then. ``done`` is called with the source and
    whether it could be renewed.
    """

    def __init__(
        self,
        sources: dict[str, RenewedFiles],
        done: Callable[[str, bool], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources = sources
        self._monotonic = monotonic
        self._done = done
        self._seen = {name: _stamps(source.files()) for name, source in sources.items()}
        self._retry_at: dict[str, float] = {}
        """Those that were refused, on the monotonic clock."""

    def add(self, name: str, source: RenewedFiles) -> None:
        """Watch these too; they were read just now."""
        self._seen[name] = _stamps(source.files())
        self._sources[name] = source

    async def run(self) -> None:
        """Check every few seconds, without end."""
        while True:
            await asyncio.sleep(FILE_CHECK_SECONDS)
            await self.check()

    async def check(self) -> None:
        """Check once."""
        for name, source in list(self._sources.items()):
            # Taken before the files are read: the next check finds a change that comes during the reading.
            stamps = _stamps(source.files())
            changed, now = stamps != self._seen[name], self._monotonic()
            if not changed and now < self._retry_at.get(name, math.inf):
                continue
            self._seen[name] = stamps
            try:
                await source.renew()
            except Exception as error:
                self._retry_at[name] = now + RETRY_SECONDS
                if not changed:
                    continue  # it was reported when it changed
                log.error(
                    "%s has changed and cannot be used, going on with what was read before: %s", name, error,
                    extra={"source": name},
                )  # fmt: skip
                self._done(name, False)
            else:
                self._retry_at.pop(name, None)
                log.info("%s has changed and is in use", name, extra={"source": name})
                self._done(name, True)
                # It may name other files now.
                self._seen[name] = {path: stamps[path] if path in stamps else _stamp(path) for path in source.files()}


def _stamps(paths: Iterable[Path]) -> dict[Path, Stamp]:
    return {path: _stamp(path) for path in paths}


def _stamp(path: Path) -> Stamp:
    """What differs once a file was written, replaced, or reached by another link; None if it cannot be reached."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
