"""The name of a file that holds some bytes, for a library that reads files only: OpenSSL, of certificates and keys."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def file_of(content: bytes) -> Iterator[str]:
    """Gone afterwards. In memory where the system has such files: a key is never written to a disk then, and a child
    may have no folder to write to. Raises OSError."""
    if not hasattr(os, "memfd_create"):
        with tempfile.NamedTemporaryFile() as copy:
            copy.write(content)
            copy.flush()
            yield copy.name
        return
    with os.fdopen(os.memfd_create("content", os.MFD_CLOEXEC), "wb") as memory:
        memory.write(content)
        memory.flush()
        yield f"/proc/self/fd/{memory.fileno()}"
