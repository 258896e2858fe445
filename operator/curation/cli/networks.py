"""Options about the network that the operator and `try` share: which addresses modules may reach, whom they trust."""

import ssl
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final

import click

Network = IPv4Network | IPv6Network


class _CIDR(click.ParamType[Network]):
    """An IP network such as 10.0.0.0/8."""

    name = "CIDR"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Network:
        """See click."""
        if isinstance(value, IPv4Network | IPv6Network):
            return value
        try:
            return ip_network(str(value))
        except ValueError as error:
            self.fail(f"{error}; write a network such as 10.0.0.0/8", param, ctx)


class _Bundle(click.ParamType[Path]):
    """A PEM file of certificates."""

    name = "FILE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """See click."""
        path = Path(str(value))
        try:
            ssl.create_default_context(cafile=path)
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            self.fail(f"{path} is not a PEM file of certificates that can be read: {error}", param, ctx)
        return path


CIDR: Final = _CIDR()
PEM_FILE: Final = _Bundle()
