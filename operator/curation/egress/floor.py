"""The address floor: addresses that no policy can open, and those that only the operator's start may allow or deny.

Called by the resolver and by the client for every address before it is connected to. The tables follow IANA's
special-purpose address registries (RFC 6890) and the metadata addresses that cloud vendors document.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from curation.egress.errors import EgressRefused

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _table(rows: dict[str, str]) -> tuple[tuple[Network, str], ...]:
    return tuple((ip_network(network), why) for network, why in rows.items())


NEVER: Final = _table(
    {
        "0.0.0.0/8": "an unspecified address",
        "169.254.0.0/16": "a link-local address, where clouds serve instance metadata",
        "100.100.100.200/32": "a cloud metadata address",
        "168.63.129.16/32": "a cloud metadata address",
        "192.0.0.0/24": "a protocol address, where some clouds serve instance metadata",
        "224.0.0.0/4": "a multicast address",
        "255.255.255.255/32": "the broadcast address",
        "240.0.0.0/4": "a reserved address",
        "::/128": "an unspecified address",
        "fe80::/10": "a link-local address",
        "fd00:ec2::/32": "a cloud metadata address",  # AWS
        "fd20:ce::/32": "a cloud metadata address",  # Google
        "fd00:c1::a9fe:a9fe/128": "a cloud metadata address",  # OCI
        "fd00:42::42/128": "a cloud metadata address",  # Scaleway
        "fd00:a9fe:a9fe::1/128": "a cloud metadata address",  # Akamai (Linode)
        "fd00:100::100:200/128": "a cloud metadata address",  # Alibaba
        "ff00::/8": "a multicast address",
        "100::/64": "a discard-only address",
        # The prefix length, and so where the IPv4 address is, is the network's own choice (RFC 8215, RFC 6052).
        "64:ff9b:1::/48": "a local translation address",
    }
)
"""Refused whatever the allowance says."""

ALLOWABLE: Final = _table(
    {
        "127.0.0.0/8": "a loopback address",
        "10.0.0.0/8": "a private address",
        "172.16.0.0/12": "a private address",
        "192.168.0.0/16": "a private address",
        "100.64.0.0/10": "a shared (carrier-grade NAT) address",
        "198.18.0.0/15": "a benchmarking address",
        "192.0.2.0/24": "a documentation address",
        "198.51.100.0/24": "a documentation address",
        "203.0.113.0/24": "a documentation address",
        "::1/128": "a loopback address",
        "fc00::/7": "a unique local address",
        "fec0::/10": "a site-local address",
        "2001:db8::/32": "a documentation address",
        "3fff::/20": "a documentation address",
    }
)
"""Refused unless the operator was started with an allowance that contains the address."""

_GLOBAL_V6: Final = IPv6Network("2000::/3")
_COMPATIBLE: Final = IPv6Network("::/96")
_TRANSLATED: Final = (IPv6Network("::ffff:0:0/96"), IPv6Network("::ffff:0:0:0/96"), IPv6Network("64:ff9b::/96"))
# RFC 5214 section 6.1: an interface identifier of (00|02)00:5efe and an IPv4 address.
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})


class AddressFloor:
    """Checks addresses.

    ``allow`` lifts the refusal of private and loopback ranges, nothing else. ``deny`` refuses further ones, public or
    allowed.
    """

    def __init__(self, allow: Sequence[Network] = (), deny: Sequence[Network] = ()) -> None:
        self._allow = tuple(allow)
        self._deny = tuple(deny)

    def refusal(self, address: Address | str) -> str | None:
        """Why the address may not be connected to; None if it may. An embedded IPv4 address is checked as well."""
        try:
            checked = ip_address(address) if isinstance(address, str) else address
        except ValueError:
            return f"{address!r} is no IP address"
        shown = str(checked)
        embedded = tuple(_embedded(checked))
        for each in (checked, *embedded):
            why = self._denial(each)
            if why is not None:
                return f"{shown} is {why}" if each == checked else f"{shown} leads to {each}, {why}"
        # An address that is only a carrier is as good as what it carries; an IPv6 address is checked by itself, too.
        for each in embedded if embedded and _carrier(checked) else (checked, *embedded):
            why = self._refusal(each)
            if why is not None:
                return f"{shown} is {why}" if each == checked else f"{shown} leads to {each}, {why}"
        return None

    def check(self, address: Address | str, host: str) -> None:
        """Raise `EgressRefused` if ``host``'s address may not be connected to."""
        why = self.refusal(address)
        if why is not None:
            raise EgressRefused(f"{host}: {why}")

    def _denial(self, address: Address) -> str | None:
        for network in self._deny:
            if _plain(address) in network:
                return f"in {network}, which the operator was started to deny (--deny-cidr); no policy can allow it"
        return None

    def _refusal(self, address: Address) -> str | None:
        plain = _plain(address)
        for network, why in NEVER:
            if plain in network:
                return f"{why}; no policy can allow it"
        if any(plain in network for network in self._allow):
            return None
        for network, why in ALLOWABLE:
            if plain in network:
                return f"{why}; start the operator with --allow-cidr to allow it"
        if isinstance(plain, IPv6Address) and plain not in _GLOBAL_V6:
            return "a reserved address; no policy can allow it"
        return None


def _plain(address: Address) -> Address:
    return IPv6Address(int(address)) if isinstance(address, IPv6Address) else address  # without a zone id


def _carrier(address: Address) -> bool:
    return isinstance(address, IPv6Address) and (
        any(address in network for network in _TRANSLATED) or (address in _COMPATIBLE and int(address) > 1)
    )


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that packets to this IPv6 address may end at."""
    if not isinstance(address, IPv6Address):
        return
    bits = int(address)
    if _carrier(address):
        yield IPv4Address(bits & 0xFFFFFFFF)
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if bits >> 32 & 0xFFFFFFFF in _ISATAP:
        yield IPv4Address(bits & 0xFFFFFFFF)
