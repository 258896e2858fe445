"""What a carrier is told: by its environment, which the operator has written into the pod's spec."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from curation.pods.variables import (
    AUTHORITY_VARIABLE,
    DOOR_VARIABLE,
    EXECUTION_VARIABLE,
    MAX_TOKEN_BYTES,
    SERVER_NAME_VARIABLE,
    TOKEN_FILE_VARIABLE,
)


@dataclass(frozen=True, slots=True)
class CarrierSettings:
    """Nothing of a tenant's."""

    host: str
    port: int
    """Of the door; all addresses of the name are tried."""
    server_name: str
    authority: str
    """PEM."""
    execution: str
    token_file: Path

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "CarrierSettings":
        """Raises ValueError, which names the variable that is wrong."""

        def value(name: str) -> str:
            if not (found := environ.get(name, "")):
                raise ValueError(f"{name} is not set: the operator writes it into the pod that it makes")
            return found

        host, colon, port = value(DOOR_VARIABLE).rpartition(":")
        if not colon or not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise ValueError(f"{DOOR_VARIABLE}: {value(DOOR_VARIABLE)!r} is not host:port")
        made = cls(
            host.removeprefix("[").removesuffix("]"),
            int(port),
            value(SERVER_NAME_VARIABLE),
            value(AUTHORITY_VARIABLE),
            value(EXECUTION_VARIABLE),
            Path(value(TOKEN_FILE_VARIABLE)),
        )
        try:
            made.tls()
        except (ssl.SSLError, ValueError) as error:
            raise ValueError(f"{AUTHORITY_VARIABLE}: no authorities in PEM: {error}") from None
        return made

    def tls(self) -> ssl.SSLContext:
        """Trusts these authorities alone. Raises ssl.SSLError and ValueError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=self.authority)
        return context

    def token(self) -> bytes:
        """As it is now: it is renewed by the node. Raises OSError."""
        with self.token_file.open("rb") as file:
            token = file.read(MAX_TOKEN_BYTES + 1).strip()
        if not 0 < len(token) <= MAX_TOKEN_BYTES:
            raise OSError(f"{self.token_file} holds no token")
        return token
