"""Sockets to listen on, IPv4 and IPv6, and their URLs."""

import errno
import logging
import socket
from ipaddress import ip_address
from typing import Final

log = logging.getLogger(__name__)

EVERY_ADDRESS: Final = ("", "*", "::")
"""Hosts that mean all addresses of the machine, of both families where it has both. 0.0.0.0 means those of IPv4."""
BACKLOG: Final = 128
# What a machine without a family says, at whatever step it notices.
_NO_SUCH_FAMILY: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


def listen(host: str, port: int) -> list[socket.socket]:
    """Listen on a port (0: a free one) of a host, on each of its addresses that this machine has.

    Raises OSError, which names the address, if there is none, or if the port is taken on one of them.
    """
    try:
        return _every_address(port) if host in EVERY_ADDRESS else _addresses_of(host, port)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {authority(host, port)}: {error.strerror or error}") from error


def url(listening: socket.socket) -> str:
    """The URL to open what listens there, on this machine."""
    host, port, *rest = listening.getsockname()
    if ip_address(host.partition("%")[0]).is_unspecified:
        host = "127.0.0.1"
    elif rest and rest[1] and "%" not in host:
        host = f"{host}%{socket.if_indextoname(rest[1])}"
    return f"http://{authority(host, port)}"


def authority(host: str, port: int) -> str:
    """HOST:PORT as a URL has it: an IPv6 address in brackets, the % of its zone escaped (RFC 6874)."""
    return f"[{host.replace('%', '%25')}]:{port}" if ":" in host else f"{host}:{port}"


def _every_address(port: int) -> list[socket.socket]:
    """One socket of both families; where the machine lacks one, one of the other."""
    try:
        return [_bound(socket.AF_INET6, ("::", port), both=True)]
    except OSError as error:
        if error.errno not in _NO_SUCH_FAMILY:
            raise
        log.info("this machine has no IPv6 (%s): listening on IPv4 alone", error.strerror)
        return [_bound(socket.AF_INET, ("0.0.0.0", port))]  # noqa: S104 - asked for


def _addresses_of(host: str, port: int) -> list[socket.socket]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    made: list[socket.socket] = []
    lacking: OSError | None = None
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            # A port that was chosen for the first address is the others' too, so that there is one URL.
            chosen = made[0].getsockname()[1] if made else address[1]
            try:
                made.append(_bound(family, (address[0], chosen, *address[2:])))
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise
                lacking = error
    except OSError:
        for each in made:
            each.close()
        raise
    if not made:
        assert lacking is not None
        raise lacking
    return made


def _bound(family: int, address: tuple[object, ...], *, both: bool = False) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Trap: the system's own default differs from machine to machine.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not both))
        made.bind(address)
        made.listen(BACKLOG)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return made
