"""An author of large jobs at full speed: a process of its own, so that it takes no turn of what it is to disturb.

    python -m tests.faults.large_jobs KUBECONFIG NAMESPACE JOBS BYTES ANNOTATIONS

Makes jobs whose input has so many bytes of short words, and annotates each of them so many times. Says `made` when all
are there, and ends when all are annotated.
"""

import http.client
import json
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from testing.admin_client import GROUP
from testing.api_client import tls_of

_SECONDS = 300.0
_AT_ONCE = 3
"""Requests under way. What the API server needs for one of them grows with their number; it gives up after a minute."""
# More and smaller values would cost the API server more than anybody else.
_WORD = "x" * 20


def large_job(name: str, size: int) -> bytes:
    """A job with so many bytes of input."""
    words = ",".join([f'"{_WORD}"'] * (size // (len(_WORD) + 3)))
    return (
        f'{{"apiVersion":"curation.dev/v1alpha1","kind":"CurationJob","metadata":{{"name":"{name}"}},'
        f'"spec":{{"moduleRef":{{"name":"none"}},"input":{{"words":[{words}]}}}}}}'
    ).encode()


class _Author:
    def __init__(self, server: str, tls: ssl.SSLContext, namespace: str, name: str) -> None:
        self._http = http.client.HTTPSConnection(urlsplit(server).netloc, context=tls, timeout=_SECONDS)
        self._path = f"{GROUP}/namespaces/{namespace}/curationjobs"
        self._name = name

    def make(self, size: int) -> None:
        self._send("POST", self._path, "application/json", large_job(self._name, size))

    def annotate(self, times: int) -> None:
        for number in range(times):
            body = json.dumps({"metadata": {"annotations": {"example.com/number": str(number)}}}).encode()
            self._send("PATCH", f"{self._path}/{self._name}", "application/merge-patch+json", body)

    def _send(self, method: str, path: str, kind: str, body: bytes) -> None:
        """Until it is done: a busy server may answer that it gave up, and ends a connection that was idle."""
        while True:
            try:
                self._http.request(method, path, body, {"Content-Type": kind, "Accept": "application/json"})
                answer = self._http.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                self._http.close()  # the next request opens another one
                continue
            if answer.status < 300 or (method == "POST" and answer.status == 409):
                return
            if answer.status < 500 and answer.status != 429:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]!r}")


def main(kubeconfig: str, namespace: str, jobs: str, size: str, annotations: str) -> None:
    """The command line."""
    server = json.loads(Path(kubeconfig).read_text())["clusters"][0]["cluster"]["server"]
    tls = tls_of(Path(kubeconfig))
    authors = [_Author(server, tls, namespace, f"large-{number}") for number in range(int(jobs))]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(lambda author: author.make(int(size)), authors))
        print("made", flush=True)
        list(pool.map(lambda author: author.annotate(int(annotations)), authors))


if __name__ == "__main__":
    main(*sys.argv[1:])
