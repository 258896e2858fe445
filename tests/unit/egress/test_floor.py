"""The floor: what no policy and no allowance opens, what an allowance opens, and addresses inside addresses."""

from ipaddress import ip_network

import pytest

from curation.egress.errors import EgressRefused
from curation.egress.floor import AddressFloor

EVERYTHING = AddressFloor([ip_network("0.0.0.0/0"), ip_network("::/0")])
NOTHING = AddressFloor()
LOOPBACK = AddressFloor([ip_network("127.0.0.0/8")])

NEVER = {
    "metadata": "169.254.169.254",
    "metadata of containers": "169.254.170.2",
    "metadata elsewhere": "100.100.100.200",
    "metadata of another cloud": "168.63.129.16",
    "metadata in the protocol block": "192.0.0.192",
    "metadata over IPv6": "fd00:ec2::254",
    "metadata over IPv6 elsewhere": "fd20:ce::254",
    "metadata of OCI over IPv6": "fd00:c1::a9fe:a9fe",
    "metadata of Scaleway over IPv6": "fd00:42::42",
    "metadata of Linode over IPv6": "fd00:a9fe:a9fe::1",
    "metadata of Alibaba over IPv6": "fd00:100::100:200",
    "mapped metadata of Alibaba": "::ffff:100.100.100.200",
    "translated metadata of Alibaba": "64:ff9b::100.100.100.200",
    "6to4 metadata of Alibaba": "2002:6464:64c8::1",
    "translated metadata of Azure": "64:ff9b::168.63.129.16",
    "6to4 metadata of OCI": "2002:c000:c0::1",
    "unspecified": "0.0.0.0",
    "this network": "0.1.2.3",
    "multicast": "224.0.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "unspecified IPv6": "::",
    "link-local IPv6": "fe80::1",
    "link-local IPv6 with a zone": "fe80::1%eth0",
    "multicast IPv6": "ff02::1",
    "discard-only": "100::1",
    "mapped metadata": "::ffff:169.254.169.254",
    "mapped metadata in hexadecimal": "::ffff:a9fe:a9fe",
    "compatible metadata": "::169.254.169.254",
    "translated metadata": "64:ff9b::a9fe:a9fe",
    "SIIT metadata": "::ffff:0:169.254.169.254",
    "locally translated": "64:ff9b:1::a9fe:a9fe",
    "6to4 metadata": "2002:a9fe:a9fe::1",
    "Teredo server": "2001:0:a9fe:a9fe::1",
    "Teredo client": "2001:0:808:808:0:0:5601:5601",
    "ISATAP metadata": "2001:4860::5efe:169.254.169.254",
    "mapped unspecified": "::ffff:0.0.0.0",
}
ALLOWABLE = {
    "loopback": "127.0.0.1",
    "loopback elsewhere": "127.9.9.9",
    "private 10": "10.0.0.1",
    "private 172.16": "172.16.0.1",
    "private 172.31": "172.31.255.255",
    "private 192.168": "192.168.1.1",
    "carrier-grade NAT": "100.64.0.1",
    "benchmarking": "198.18.0.1",
    "documentation": "192.0.2.1",
    "loopback IPv6": "::1",
    "unique local": "fc00::1",
    "unique local as used": "fd12:3456::1",
    "site-local": "fec0::1",
    "mapped loopback": "::ffff:127.0.0.1",
    "mapped private": "::ffff:10.0.0.1",
    "translated private": "64:ff9b::10.0.0.1",
    "6to4 private": "2002:a00:1::1",
    "documentation IPv6": "2001:db8::1",
}
PUBLIC = [
    "8.8.8.8",
    "172.32.0.1",
    "100.128.0.1",
    "2001:4860:4860::8888",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]


@pytest.mark.parametrize("address", NEVER.values(), ids=NEVER.keys())
def test_no_allowance_opens_it(address: str) -> None:
    why = EVERYTHING.refusal(address)
    assert why is not None
    assert "no policy can allow it" in why


@pytest.mark.parametrize("address", ALLOWABLE.values(), ids=ALLOWABLE.keys())
def test_an_allowance_opens_it_and_nothing_else_does(address: str) -> None:
    why = NOTHING.refusal(address)
    assert why is not None
    assert "start the operator with --allow-cidr" in why
    assert EVERYTHING.refusal(address) is None


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_open(address: str) -> None:
    assert NOTHING.refusal(address) is None


def test_an_allowance_of_loopback_opens_only_that() -> None:
    assert LOOPBACK.refusal("127.0.0.1") is None
    assert LOOPBACK.refusal("::ffff:127.0.0.1") is None
    assert LOOPBACK.refusal("::1") is not None
    assert LOOPBACK.refusal("10.0.0.1") is not None


DENIED = ["10.96.0.1", "::ffff:10.96.0.1", "64:ff9b::10.96.0.1", "2002:a60:1::1", "8.8.8.8", "2001:4860::1", "fd12::1"]


@pytest.mark.parametrize("address", DENIED)
def test_a_denial_wins_over_an_allowance_and_closes_public_addresses(address: str) -> None:
    denied = ["10.96.0.0/12", "8.8.8.0/24", "2001:4860::/32", "fd12::/16"]
    floor = AddressFloor([ip_network("0.0.0.0/0"), ip_network("::/0")], [ip_network(each) for each in denied])
    why = floor.refusal(address)
    assert why is not None
    assert "--deny-cidr" in why
    assert floor.refusal("10.0.0.1") is None
    assert floor.refusal("1.1.1.1") is None


def test_a_carrier_can_be_denied_as_such() -> None:
    assert "--deny-cidr" in str(AddressFloor((), [ip_network("64:ff9b::/96")]).refusal("64:ff9b::8.8.8.8"))


def test_a_reserved_block_of_ipv6_is_closed() -> None:
    assert NOTHING.refusal("4000::1") == "4000::1 is a reserved address; no policy can allow it"


def test_the_refusal_names_the_address_inside() -> None:
    assert NOTHING.refusal("::ffff:10.0.0.1") == (
        "::ffff:a00:1 leads to 10.0.0.1, a private address; start the operator with --allow-cidr to allow it"
    )


def test_check_raises_with_the_host() -> None:
    with pytest.raises(EgressRefused, match=r"metadata\.example: 169\.254\.169\.254 is a link-local address"):
        NOTHING.check("169.254.169.254", "metadata.example")
    NOTHING.check("8.8.8.8", "dns.example")


def test_what_is_no_address_is_refused() -> None:
    assert NOTHING.refusal("example.com") == "'example.com' is no IP address"
