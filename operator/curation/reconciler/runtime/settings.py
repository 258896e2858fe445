"""How one operator process was started: the options of `curation-operator run`, checked."""

import os
import secrets
import socket
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from curation.notifying.notifier import ReceiverSettings
from curation.oci.frames import PublicKey


@dataclass(frozen=True)
class LeaseSettings:
    """Where replicas elect their leader."""

    namespace: str
    name: str


@dataclass(frozen=True)
class HttpsSettings:
    """Where the webhook listens, and whence its certificate comes."""

    host: str
    """Empty: every address, IPv4 and IPv6."""
    port: int
    certificate: Path | None = None
    """A PEM file, with its chain; None: a Secret of the operator's own namespace, that the leader makes."""
    key: Path | None = None


@dataclass(frozen=True)
class GuestSettings:
    """Where guests of jobs with `executor.type: Job` run, and how they come back."""

    namespace: str
    """Of their Jobs and pods; nobody else's are there."""
    address: tuple[str, int]
    """Name and port by which pods find the door: each of the name's addresses is a replica."""
    bind: tuple[str, int] = ("0.0.0.0", 9445)  # noqa: S104 - pods come from other nodes
    image: str | None = None
    """What pods run; None: what this operator's own pod does."""


@dataclass(frozen=True)
class Settings:
    """The options of one process."""

    namespaces: tuple[str, ...] = ()
    """Empty: the whole cluster."""
    cluster_policies: bool = True
    """Whether ClusterCurationPolicies count. Only an operator of some namespaces may go without."""
    max_concurrent_runs: int = 256
    allow_cidrs: tuple[IPv4Network | IPv6Network, ...] = ()
    deny_cidrs: tuple[IPv4Network | IPv6Network, ...] = ()
    """Wins over `allow_cidrs`."""
    ca_bundle: Path | None = None
    """A PEM file of authorities that session services may be certified by, beside the system's."""
    require_signature: tuple[PublicKey, ...] = ()
    """Keys of which one must have signed each module that the operator does not ship. Empty: none has to be."""
    approval_ttl: timedelta | None = timedelta(days=30)
    """When a grant ends whose decision says nothing of it; None: never."""
    approval_retention: timedelta | None = timedelta(days=30)
    """How long an approval is kept that was revoked or has expired; None: for ever."""
    notify: ReceiverSettings | None = None
    """Where it is told what happens; None: nowhere."""
    workers_socket: Path | None = None
    """Where a supervisor starts the workers, in a container of its own; None: they are started by this process."""
    workers_memory: int | None = None
    """Bytes that workers may take together; None: what their container has, less what others in it need."""
    log_all_calls: bool = False
    """Whether calls of modules that were allowed are logged too."""
    identity: str = field(default_factory=socket.gethostname)
    lease: LeaseSettings | None = None
    http_host: str = "127.0.0.1"
    """Empty: every address, IPv4 and IPv6."""
    http_port: int = 8080
    https: HttpsSettings | None = None
    guests: GuestSettings | None = None
    """None: no run can have a pod."""
    workers: int = 48
    """Keys worked on at once; most of them wait for the API server."""
    drain_seconds: float = 1.0
    """How long a stop waits for runs in flight to end by themselves."""
    holder: str = ""
    """<identity>/<random per process>; made if empty."""

    def __post_init__(self) -> None:
        if not self.holder:
            # Random, so that a restarted process with the same identity never takes a dead run for its own.
            object.__setattr__(self, "holder", f"{self.identity}/{os.getpid()}-{secrets.token_hex(4)}")
