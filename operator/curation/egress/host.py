"""The canonical host of a URL: lower-case ASCII without a trailing dot, or an IPv4 address in dotted decimal.

Called by `url.parse_url`. Names follow UTS 46 (non-transitional, STD3 rules); a host whose last label is a number is an
IPv4 address by the WHATWG URL Standard (sections 3.5 "host parsing" and "ends in a number"), so that ``0x7f.1``,
``2130706433`` and ``127.0.0.1`` are one host to the policy and to the address floor.
"""

import re
from typing import Final

import idna

from curation.egress.errors import EgressRefused

MAX_HOST: Final = 253
"""Octets of a DNS name without its trailing dot (RFC 1035 section 2.3.4)."""

_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


def canonical_host(text: str) -> str:
    """Bring a host to its one form. Raises `EgressRefused`."""
    if not text:
        raise EgressRefused("the URL has no host; write http://HOST/PATH")
    if "[" in text or "]" in text or ":" in text:
        raise EgressRefused(f"IPv6 literals are not supported as a host ({text[:64]!r}); use a DNS name")
    if "%" in text:
        raise EgressRefused(f"percent-encoding in a host is not supported ({text[:64]!r}); write the host plainly")
    if len(text) > 4 * MAX_HOST:
        raise EgressRefused(f"the host has {len(text)} characters, a DNS name has at most {MAX_HOST}")
    host = _ascii(text)
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(labels, text)
    if len(host) > MAX_HOST:
        raise EgressRefused(f"the host has {len(host)} characters, a DNS name has at most {MAX_HOST}")
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise EgressRefused(
                f"the host {text[:64]!r} is no DNS name: label {label[:64]!r}; "
                "labels have 1 to 63 letters, digits and inner hyphens"
            )
    return host


def _ascii(text: str) -> str:
    try:
        # Mapping first, since it can make dots, digits and letters of what was none: "①②⑦.0.0.1" is 127.0.0.1.
        mapped = idna.uts46_remap(text, std3_rules=True, transitional=False).removesuffix(".")
        return ".".join(_alabel(label) for label in mapped.split("."))
    except (idna.IDNAError, UnicodeError) as exc:
        raise EgressRefused(f"the host {text[:64]!r} is no valid international name: {exc}") from exc


def _alabel(label: str) -> str:
    if label.isascii() and not label.startswith("xn--"):
        # IDNA forbids hyphens in places 3 and 4 of any label, but plain DNS names have them.
        return label
    return idna.alabel(label).decode("ascii")


def _ipv4(labels: list[str], text: str) -> str:
    # WHATWG URL Standard, "IPv4 parser": up to four parts, 0x is hexadecimal, a leading 0 octal; the last part fills
    # the bytes that are left.
    refused = EgressRefused(f"the host {text[:64]!r} ends in a number but is no IPv4 address; write it as 192.0.2.1")
    if len(labels) > 4:
        raise refused
    numbers = []
    for label in labels:
        number = _number(label)
        if number is None:
            raise refused
        numbers.append(number)
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= 256 ** (5 - len(numbers)):
        raise refused
    value = numbers[-1] + sum(number << (8 * (3 - place)) for place, number in enumerate(numbers[:-1]))
    return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))


def _number(label: str) -> int | None:
    if not _NUMBER.fullmatch(label) or len(label) > 40:
        return None
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    if len(label) > 1 and label.startswith("0"):
        return int(label, 8) if not set(label) & {"8", "9"} else None
    return int(label)
