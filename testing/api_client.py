"""The one client of tests and benchmarks for an API server: aiohttp, JSON in and out, nothing else."""

import base64
import json
import ssl
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from curation.cluster.sockets import Sockets

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
SECONDS = 60.0
"""How long a request may take."""


class ApiClient:
    """Talks to the API server of a kubeconfig that `testing.controlplane` has written. An async context manager."""

    def __init__(self, kubeconfig: Path, seconds: float = SECONDS) -> None:
        document = json.loads(kubeconfig.read_text())
        self._url: str = document["clusters"][0]["cluster"]["server"]
        self._tls = tls_of(kubeconfig)
        self._seconds = seconds
        self._http: aiohttp.ClientSession | None = None
        self._sockets = Sockets()

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls, socket_factory=self._sockets)
        self._http = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._http is not None
        await self._http.close()
        await self._sockets.all_closed(SECONDS)

    def send(self, method: str, path: str, body: object = None, seconds: float | None = 0) -> Any:
        """One request, as aiohttp's context manager; a PATCH is a merge patch. `seconds`: None is without end."""
        assert self._http is not None
        return self._http.request(
            method,
            self._url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": MERGE_PATCH if method == "PATCH" else JSON, "Accept": JSON},
            timeout=aiohttp.ClientTimeout(total=self._seconds if seconds == 0 else seconds),
        )


def tls_of(kubeconfig: Path) -> ssl.SSLContext:
    """The TLS context of a kubeconfig's only user."""
    document = json.loads(kubeconfig.read_text())
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    context = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    # The ssl module reads certificates from files only.
    with tempfile.NamedTemporaryFile() as pair:
        for part in ("client-certificate-data", "client-key-data"):
            pair.write(base64.b64decode(user[part]) + b"\n")
        pair.flush()
        context.load_cert_chain(pair.name)
    return context
