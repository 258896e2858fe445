"""How to reach a control plane that runs, as any user: kubeconfigs, kubectl, and single requests.

Called by everything that uses a control plane. It is only a folder, an address and the programs, so that one process
can start the server and many can use it (the workers of a test run do).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.client
import json
import os
import secrets
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from testing.controlplane.certificates import Authority, write_private
from testing.controlplane.errors import ControlPlaneError, KubectlError

ADMIN = "admin"
ADMIN_GROUPS = ("system:masters",)
"""Kubernetes' built-in group that no authorizer is asked about."""

KUBECTL_SECONDS = 120.0
"""Longer than any `kubectl wait` in the tests; a hanging kubectl fails its test, not the run."""

_REQUEST_SECONDS = 30.0


class Kubectl(Protocol):
    """Runs kubectl with these arguments, `input` on its standard input; raises KubectlError on failure if `check`."""

    def __call__(
        self,
        *args: str,
        user: str = ADMIN,
        groups: Sequence[str] = (),
        input: str | None = None,  # noqa: A002
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """See `Connection.kubectl`."""
        ...


class Request(Protocol):
    """One request as admin; raises OSError when the server cannot be reached."""

    def __call__(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """HTTP status and decoded answer; a PATCH is a merge patch."""
        ...


def service_account(namespace: str, name: str) -> tuple[str, tuple[str, ...]]:
    """The user name and the groups by which the API server knows a service account."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return f"system:serviceaccount:{namespace}:{name}", groups


@dataclass(frozen=True)
class Connection:
    """A running control plane: its folder (private, holds the authority's key), its address, its programs' folder."""

    folder: Path
    url: str
    binaries: Path
    has_controller_manager: bool

    def kubeconfig(self, user: str = ADMIN, groups: Sequence[str] = ()) -> Path:
        """A kubeconfig with a certificate for this user in these groups; the same one for the same question.

        RBAC decides what the user may do. `admin` without groups is in `system:masters` and may do everything.
        The file is self-contained, and goes with the control plane's folder.
        """
        if user == ADMIN and not groups:
            groups = ADMIN_GROUPS
        too_long = [name for name in (user, *groups) if len(name) > 64]
        if too_long:
            raise ControlPlaneError(f"{too_long[0]!r} is longer than 64 characters, the bound of a certificate's names")
        key = hashlib.sha256(json.dumps([user, sorted(groups), self.url]).encode()).hexdigest()[:16]
        path = self.folder / "kubeconfigs" / f"{key}.yaml"
        if not path.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            authority = Authority.load(self.folder)
            certificate, private = authority.client(user, groups)
            write_private(path, _kubeconfig(self.url, authority.pem, user, certificate, private))
        return path

    def kubectl(
        self,
        *args: str,
        user: str = ADMIN,
        groups: Sequence[str] = (),
        input: str | None = None,  # noqa: A002
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as a user; when it fails and `check` is set, raises KubectlError with what kubectl said."""
        result = subprocess.run(
            [str(self.binaries / "kubectl"), *args],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=KUBECTL_SECONDS,
            env=self.environment(user, groups),
        )
        if check and result.returncode:
            raise KubectlError(result.returncode, ["kubectl", *args], result.stdout, result.stderr)
        return result

    def environment(self, user: str = ADMIN, groups: Sequence[str] = ()) -> dict[str, str]:
        """The environment for a program that is to use this control plane, and nothing of the caller's ~/.kube.

        PATH begins with the folder of this control plane's kubectl.
        """
        inherited = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return {
            **inherited,
            "PATH": f"{self.binaries}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "KUBECONFIG": str(self.kubeconfig(user, groups)),
            "KUBECACHEDIR": str(self.folder / "kubectl-cache"),
            "KUBERC": "off",
        }

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """One request as admin, without the 0.1 s that a kubectl takes to start: HTTP status and decoded answer.

        Raises OSError when the server cannot be reached.
        """
        with self.kept() as request:
            return request(method, path, body)

    @contextmanager
    def kept(self) -> Iterator[Request]:
        """What `request` does, for many requests in a row, without a TLS handshake for each."""
        host = self.url.removeprefix("https://")
        connection = http.client.HTTPSConnection(host, timeout=_REQUEST_SECONDS, context=_tls(self.folder))
        try:
            yield functools.partial(_ask, connection)
        finally:
            connection.close()


def _ask(connection: http.client.HTTPSConnection, method: str, path: str, body: object = None) -> tuple[int, Any]:
    # A patch is a merge patch here: the only kind that a plain object can say.
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    headers = {"Content-Type": kind, "Accept": "application/json"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{method} {path}: {error!r}") from error
    is_json = response.headers.get_content_type() == "application/json"
    return response.status, json.loads(content) if is_json else content.decode()


@functools.lru_cache(maxsize=16)
def _tls(folder: Path) -> ssl.SSLContext:
    authority = Authority.load(folder)
    context = ssl.create_default_context(cadata=authority.pem.decode())
    certificate, private = authority.client(ADMIN, ADMIN_GROUPS)
    # The ssl module reads files only; the name is random, since several threads and processes may be here at once.
    pair = folder / f"admin-{secrets.token_hex(8)}.pem"
    write_private(pair, certificate + private)
    context.load_cert_chain(pair)
    pair.unlink()
    return context


def _kubeconfig(url: str, authority: bytes, user: str, certificate: bytes, key: bytes) -> bytes:
    def encoded(content: bytes) -> str:
        return base64.b64encode(content).decode()

    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {"server": url, "certificate-authority-data": encoded(authority)}}],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)},
            }
        ],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": user}}],
        "current-context": "local",
    }
    # JSON is YAML.
    return json.dumps(document, indent=2).encode()
