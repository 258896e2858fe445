"""The folder of the user's cache that builds work and keep their results in."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """Where crates are copied to and built: outside the checkout, safe to delete."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "curation-operator" / "modules"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Two builds at once would pull the copied sources from under each other, or do the same work twice."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
