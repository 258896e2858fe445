"""Options about the network that the operator and `try` share: which addresses modules may reach, whom they trust."""

import ssl
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Final

import click

from curation.egress.errors import EgressRefused
from curation.egress.url import parse_url
from curation.oci.frames import MAX_KEY_CHARACTERS, PublicKey
from curation.oci.signatures import Key

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


class _PublicKey(click.ParamType[PublicKey]):
    """A PEM file with one public key, which is called as the file is."""

    name = "FILE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> PublicKey:
        """See click."""
        if isinstance(value, PublicKey):
            return value
        path = Path(str(value))
        try:
            key = PublicKey(path.stem, path.read_bytes()[: MAX_KEY_CHARACTERS + 1].decode())
            Key.read(key.name, key.pem)
        except (OSError, ValueError) as error:  # a BadKey is a ValueError
            self.fail(f"{path} is no public key that can be used: {error}", param, ctx)
        return key


CIDR: Final = _CIDR()
PUBLIC_KEY: Final = _PublicKey()
PEM_FILE: Final = _Bundle()


class _ReceiverURL(click.ParamType[str]):
    """An absolute http or https URL, in its canonical form."""

    name = "URL"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See click."""
        try:
            return parse_url(str(value)).url
        except EgressRefused as error:
            self.fail(str(error), param, ctx)


RECEIVER_URL: Final = _ReceiverURL()
