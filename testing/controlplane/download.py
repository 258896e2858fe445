"""Downloads one file over HTTP, as a program of its own: `python -I download.py URL FILE BYTES`.

`archive` starts it by path, with nothing but the standard library, and ends it when it is late: a name server that does
not answer, and a header that never ends, can be cut off in no other way. A line on standard output for each piece says
how many bytes there are; what went wrong is the last line on standard error. Exit code 3: the connection was cut, and
another try may do; 1: no other try will.
"""

from __future__ import annotations

import http.client
import sys
import urllib.error
import urllib.request
from pathlib import Path

CUT = 3
_PIECE = 1 << 18
_SOCKET_SECONDS = 15


class _Cut(Exception):
    """The connection ended before the file did."""


def download(url: str, target: Path, limit: int) -> None:
    """Write what `url` answers to `target`, at most `limit` bytes."""
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url} is neither https nor http")
    request = urllib.request.Request(url, headers={"User-Agent": "curation-operator"})
    with urllib.request.urlopen(request, timeout=_SOCKET_SECONDS) as answer, target.open("wb") as file:
        length = answer.headers.get("Content-Length")
        if length is not None and int(length) > limit:
            raise ValueError(f"{url} has {int(length) >> 20} MiB, more than {limit >> 20}")
        received = 0
        try:
            # read1: what is there, so that a slow server shows progress.
            while piece := answer.read1(_PIECE):
                received += len(piece)
                if received > limit:
                    raise ValueError(f"{url} has more than {limit >> 20} MiB")
                file.write(piece)
                print(received, flush=True)
        except (http.client.HTTPException, ConnectionError) as error:
            raise _Cut(f"the connection was cut after {received} bytes: {error!r}") from error
        if length is not None and received < int(length):
            raise _Cut(f"the connection was cut after {received} of {length} bytes")


def main() -> int:
    """Returns the exit code."""
    url, target, limit = sys.argv[1:]
    try:
        download(url, Path(target), int(limit))
    except urllib.error.HTTPError as error:
        print(f"{error.url} answers {error.code} {error.reason}", file=sys.stderr)
    except urllib.error.URLError as error:
        print(f"{url} cannot be reached: {error.reason}", file=sys.stderr)
    except _Cut as error:
        print(error, file=sys.stderr)
        return CUT
    except (OSError, http.client.HTTPException, ValueError) as error:
        print(f"{url}: {error or type(error).__name__}", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
