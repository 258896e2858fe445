"""What the options of `curation-operator run` may say, beside networks and files."""

import re
from ipaddress import ip_address
from typing import Final

import click

from curation.api.crd import MAX_JOB_NAME
from curation.api.module import quantity_bytes
from curation.api.references import NAME_PATTERN


class Address(click.ParamType[tuple[str, int]]):
    """HOST:PORT. No host means every address, an IPv6 address is in brackets; a port may be the default."""

    name = "HOST:PORT"

    def __init__(self, port: int | None = None) -> None:
        self._port = port
        optional = "?" if port is not None else ""
        self._form = re.compile(rf"(?:\[(?P<six>[^][]+)\]|(?P<host>[^][:/\s]*))(?::(?P<port>[0-9]{{1,5}})){optional}")

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """See click."""
        if isinstance(value, tuple):
            return value
        found = self._form.fullmatch(str(value))
        if found is None or int(found["port"] or 0) > 65535 or (found["six"] and not _is_ipv6(found["six"])):
            forms = "127.0.0.1:8080, [::1]:8080, or :8080 for every address"
            self.fail(f"{value!r} is not HOST:PORT such as {forms}", param, ctx)
        return found["six"] or found["host"], int(found["port"] or self._port or 0)


def _is_ipv6(text: str) -> bool:
    try:
        return ip_address(text).version == 6
    except ValueError:
        return False


class Size(click.ParamType[int]):
    """Bytes, as Kubernetes writes them."""

    name = "SIZE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See click."""
        try:
            found = value if isinstance(value, int) else quantity_bytes(str(value))
        except ValueError:
            found = 0
        if found <= 0:
            self.fail(f"{value!r} is not a number of bytes such as 2Gi or 512Mi", param, ctx)
        return found


class Name(click.ParamType[str]):
    """A text of a form that ends up in the API: a bad one would be refused there, again and again, by each write."""

    def __init__(self, what: str, form: str) -> None:
        self.name = what
        self._form = re.compile(form)

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See click."""
        if not self._form.fullmatch(str(value)):
            self.fail(f"{value!r} is not {self.name}", param, ctx)
        return str(value)


OBJECT: Final = Name(
    f"the name of an object: at most {MAX_JOB_NAME} lower-case letters, digits, '-' and '.', with a letter or digit at "
    "both ends",
    rf"(?=.{{1,{MAX_JOB_NAME}}}$){NAME_PATTERN[1:-1]}",
)
NAMESPACE: Final = Name("a namespace's name", r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LEASE: Final = Name("a Lease's name: lower-case letters, digits, '-' and '.'", r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
# With the process's own suffix it must fit status.run.holder.
IDENTITY: Final = Name("1 to 253 visible ASCII characters", r"[!-~]{1,253}")
