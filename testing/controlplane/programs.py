"""The command lines of the three servers, and the files that they read. Called by `server` only.

All paths are relative: the servers run in the control plane's folder. etcd listens on sockets in that folder, so only
the API server needs a port, and no other user of the machine can reach the store behind its back.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from testing.controlplane import audit
from testing.controlplane.binaries import Binaries
from testing.controlplane.certificates import Authority, make_token_key, write_private

ETCD_SOCKET = "etcd.sock"
_PEER_SOCKET = "peer.sock"
_SERVICE_NETWORK = "10.96.0.0/16"
_SERVICE_ADDRESS = "10.96.0.1"
MANAGER_USER = "system:kube-controller-manager"

CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "clusterrole-aggregation-controller",
    "serviceaccount-controller",
)
"""What an operator meets even without nodes: owner references, namespaces that end, aggregated roles, accounts."""

_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")


def write_files(folder: Path) -> None:
    """Mint certificates and keys into `folder`, and write the audit policy; an authority that is there stays."""
    authority = Authority.create(folder)
    make_token_key(folder)
    certificate, key = authority.server(_NAMES, ("127.0.0.1", _SERVICE_ADDRESS))
    write_private(folder / "server.crt", certificate)
    write_private(folder / "server.key", key)
    write_private(folder / "audit-policy.json", audit.POLICY)


def etcd(binaries: Binaries) -> list[str]:
    """Sockets of an earlier etcd in the same folder must be gone."""
    return [
        str(binaries.etcd),
        "--name=control-plane",
        "--data-dir=etcd",
        # The data never outlive the processes by design, and an fsync for each write would be most of a test's time.
        "--unsafe-no-fsync",
        f"--listen-client-urls=unix://{ETCD_SOCKET}",
        f"--advertise-client-urls=unix://{ETCD_SOCKET}",
        f"--listen-peer-urls=unix://{_PEER_SOCKET}",
        f"--initial-advertise-peer-urls=unix://{_PEER_SOCKET}",
        f"--initial-cluster=control-plane=unix://{_PEER_SOCKET}",
        "--log-level=warn",
    ]


def remove_sockets(folder: Path) -> None:
    """Remove what a killed etcd left; a new one would refuse to start."""
    for name in (ETCD_SOCKET, _PEER_SOCKET):
        (folder / name).unlink(missing_ok=True)


def apiserver(binaries: Binaries, port: int, *, audit_log: bool, arguments: Sequence[str]) -> list[str]:
    """MutatingAdmissionPolicy is on by default since 1.36 (GA), so no gate is set; `arguments` come last and win."""
    command = [
        str(binaries.apiserver),
        f"--etcd-servers=unix://{ETCD_SOCKET}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--tls-cert-file=server.crt",
        "--tls-private-key-file=server.key",
        "--client-ca-file=ca.crt",
        "--service-account-key-file=service-accounts.key",
        "--service-account-signing-key-file=service-accounts.key",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-cluster-ip-range={_SERVICE_NETWORK}",
        # A loopback address may not be an endpoint, and there are no pods that would use one.
        "--endpoint-reconciler-type=none",
        # No Node authorizer: there are no nodes.
        "--authorization-mode=RBAC",
        # Priority and fairness stay on, as in production, but a burst of a whole test run must not meet a 429.
        "--max-requests-inflight=3000",
        "--max-mutating-requests-inflight=3000",
        # Without it a stop in good order waits a minute for the watches, which do not end by themselves.
        "--shutdown-watch-termination-grace-period=1s",
        "--profiling=false",
    ]
    if audit_log:
        command += [
            "--audit-policy-file=audit-policy.json",
            f"--audit-log-path={audit.FILE}",
            "--audit-log-maxsize=0",
        ]
    return [*command, *arguments]


def controller_manager(program: Path, kubeconfig: Path, more: Sequence[str] = ()) -> list[str]:
    """Without an own port and without leader election: there is one, and its log says how it is.

    `more` controllers run beside those of every control plane.
    """
    return [
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--controllers={','.join((*CONTROLLERS, *more))}",
        "--leader-elect=false",
        "--secure-port=0",
        # The defaults (20 and 30) would let namespaces of a parallel test run pile up.
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
    ]


def tail(log: Path, lines: int = 30) -> str:
    """The end of a log, for an error message."""
    try:
        with log.open("rb") as handle:
            handle.seek(max(0, os.fstat(handle.fileno()).st_size - 32768))
            return "\n".join(handle.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no output)"
