"""An author of objects at full speed: a process of its own, so that it takes no turn of what it is to disturb.

    python -m tests.faults.author KUBECONFIG SCRIPT

The script is a JSON document: requests that are sent `once`, and requests that are sent in a `loop` without end, so
many `at_once`. Each is a method, a path and a body, in which @N@ stands for the number of the request. It says `made`
when the first ones are done, and ends with its standard input. What the API server refuses of the loop is nothing to
it: an object may be gone, or there.
"""

import http.client
import itertools
import json
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from testing.api_client import JSON, MERGE_PATCH, tls_of

NUMBER: Final = "@N@"
_SECONDS: Final = 300.0

Step = tuple[str, str, str]
"""Method, path and the text of the body."""


class Connections:
    """One connection for each thread."""

    def __init__(self, kubeconfig: Path) -> None:
        server = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        self._place, self._tls = urlsplit(server).netloc, tls_of(kubeconfig)
        self._local = threading.local()

    def send(self, step: Step, number: int) -> tuple[int, bytes]:
        """Until there is an answer of the API server: a busy one may say that it gave up, and ends connections."""
        method, path, body = (text.replace(NUMBER, str(number)) for text in step)
        kind = MERGE_PATCH if method == "PATCH" else JSON
        while True:
            made: http.client.HTTPSConnection | None = getattr(self._local, "made", None)
            if made is None:
                made = http.client.HTTPSConnection(self._place, context=self._tls, timeout=_SECONDS)
                self._local.made = made
            try:
                made.request(method, path, body.encode() or None, {"Content-Type": kind, "Accept": JSON})
                answer = made.getresponse()
                said = answer.read()
            except (OSError, http.client.HTTPException):
                made.close()  # the next request opens another one
                self._local.made = None
                continue
            if answer.status < 500 and answer.status != 429:
                return answer.status, said


def end_with_input() -> None:
    """Whoever has started it is gone, or wants no more of it."""
    sys.stdin.read()
    os._exit(0)


def main(kubeconfig: str, script: str) -> None:
    """The command line."""
    threading.Thread(target=end_with_input, daemon=True).start()
    wanted = json.loads(Path(script).read_text(encoding="utf-8"))
    connections = Connections(Path(kubeconfig))

    def once(step: Step) -> None:
        status, said = connections.send(step, 0)
        if status >= 300 and not (step[0] == "POST" and status == 409):  # it was made, and the answer was lost
            raise RuntimeError(f"{step[:2]}: {status} {said[:500]!r}")

    with ThreadPoolExecutor(wanted["at_once"]) as pool:
        list(pool.map(once, wanted["once"]))
        print("made", flush=True)
        loop, numbers = wanted["loop"], itertools.count()
        if not loop:
            threading.Event().wait()

        def again(mine: Iterator[int]) -> None:
            for number in mine:
                connections.send(loop[number % len(loop)], number)

        # The next number is taken in one step of the interpreter: no two threads get the same.
        list(pool.map(again, [numbers] * wanted["at_once"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
