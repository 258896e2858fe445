"""What a child process needs to make an egress client like this process's own: a child has no environment to read.

Called by the children that send for the operator (`notifying.sender`, `oci.pull_child`) and by those that start them.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Self

from curation.egress.client import EgressClient
from curation.egress.floor import AddressFloor


@dataclass(frozen=True, slots=True)
class Reach:
    """Which addresses may be reached, and whom the client trusts. Only plain values: it is a part of frames."""

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    ca_bundle: str | None = None
    """A PEM file."""
    ssl_cert_file: str | None = None
    """The environment variables that name the system's own authorities."""
    ssl_cert_dir: str | None = None

    @classmethod
    def of(
        cls,
        allow: Iterable[IPv4Network | IPv6Network | str],
        deny: Iterable[IPv4Network | IPv6Network | str],
        ca_bundle: Path | None,
    ) -> Self:
        """That of this process, with these options."""
        return cls(
            allow=tuple(map(str, allow)),
            deny=tuple(map(str, deny)),
            ca_bundle=str(ca_bundle.absolute()) if ca_bundle is not None else None,
            ssl_cert_file=os.environ.get("SSL_CERT_FILE"),
            ssl_cert_dir=os.environ.get("SSL_CERT_DIR"),
        )

    def client(self, authorities: bytes | None = None, *, trusts_at_once: bool = True) -> EgressClient:
        """In the child: a client with this reach; `authorities` is what its bundle holds, if that is known.

        Raises OSError and ValueError for authorities that are no use, if they are taken at once.
        """
        for name, value in (("SSL_CERT_FILE", self.ssl_cert_file), ("SSL_CERT_DIR", self.ssl_cert_dir)):
            if value is not None:
                os.environ[name] = value
        floor = AddressFloor(tuple(map(ip_network, self.allow)), tuple(map(ip_network, self.deny)))
        bundle = Path(self.ca_bundle) if self.ca_bundle is not None else None
        taken = bundle if authorities is None else authorities
        return EgressClient(floor, ca_bundle=taken, trusts_at_once=trusts_at_once)
