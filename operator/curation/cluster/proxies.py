"""Which proxy leads to the API server, by the rules of Go's tools: kubectl and the operator must not differ in it.

Called when the cluster access is read. The rules are those of golang.org/x/net/http/httpproxy, which differ from
Python's own (urllib's): networks and ports count, and a name covers the names under it.
"""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit, urlunsplit

_PORTS = {"http": 80, "https": 443}


class ProxyUnusable(Exception):
    """The environment names a proxy that cannot be used; the message says which, and what can be done."""


def proxy_for(server: str, environ: Mapping[str, str]) -> str | None:
    """The proxy's URL for a request to this URL; None if it goes straight there. Raises `ProxyUnusable`."""
    url = urlsplit(server)
    variable = f"{url.scheme.upper()}_PROXY"
    proxy = environ.get(variable) or environ.get(variable.lower())
    if not proxy or goes_straight(server, environ.get("NO_PROXY") or environ.get("no_proxy") or ""):
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in _PORTS and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        raise ProxyUnusable(
            f"{variable} is {without_credentials(proxy)!r}, which is no http or https proxy; set it to"
            " http://HOST:PORT, or name the API server in NO_PROXY"
        )
    return proxy


def goes_straight(server: str, no_proxy: str) -> bool:
    """Whether NO_PROXY, or that it is this machine, keeps a request to this URL from any proxy."""
    url = urlsplit(server)
    host = (url.hostname or "").rstrip(".")
    port = str(url.port or _PORTS.get(url.scheme) or "")
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_matches(entry.strip().lower(), host, port, address) for entry in no_proxy.split(","))


def without_credentials(proxy: str) -> str:
    """The proxy's URL for a message."""
    try:
        parts = urlsplit(proxy)
    except ValueError:
        return "a text that is no URL"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _matches(entry: str, host: str, port: str, address: IPv4Address | IPv6Address | None) -> bool:
    if entry in ("", "*"):
        return entry == "*"
    network = _network(entry)
    if network is not None:
        return address is not None and address in network
    name, wanted = _split(entry)
    if wanted not in ("", port) or not name:
        return False
    other = _address(name)
    if other is not None:
        return address == other
    if name.startswith("*."):
        name = name[1:]
    if name.startswith("."):
        return host.endswith(name)
    return host == name or host.endswith(f".{name}")


def _split(entry: str) -> tuple[str, str]:
    """Host and port ("" for none). An IPv6 address has brackets before a port, and may have them without one."""
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        return name, rest.removeprefix(":")
    if entry.count(":") == 1:
        name, _, wanted = entry.partition(":")
        return name, wanted
    return entry, ""


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # Go keeps an IPv4 address and its mapped form as one.
    return getattr(address, "ipv4_mapped", None) or address


def _network(text: str) -> IPv4Network | IPv6Network | None:
    if "/" not in text:
        return None
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
