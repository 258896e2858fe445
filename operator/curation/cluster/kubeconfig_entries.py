"""The entries of a kubeconfig as Kubernetes defines them. What is not in here is refused, by its name."""

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class ConfigurationError(Exception):
    """There is no way to the cluster in what was given; the message says what to set."""


def _decoded(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError(f"is not base64: {error}") from None


Data = Annotated[bytes, BeforeValidator(_decoded)]


class Entry(BaseModel):
    """Every field that Kubernetes has for it; null is as if it were not there."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Extension(Entry):
    """Named data of an entry that is no field of Kubernetes."""

    name: str
    extension: Any = None


class ClusterEntry(Entry):
    """A cluster of a kubeconfig."""

    server: str = ""
    tls_server_name: str = Field("", alias="tls-server-name")
    insecure: bool = Field(False, alias="insecure-skip-tls-verify")
    ca_file: str = Field("", alias="certificate-authority")
    ca_data: Data = Field(b"", alias="certificate-authority-data")
    proxy_url: str = Field("", alias="proxy-url")
    disable_compression: bool = Field(False, alias="disable-compression")
    extensions: list[Extension] = []


class Variable(Entry):
    """An environment variable of a program."""

    name: str
    value: str = ""


class Exec(Entry):
    """A program that gives credentials."""

    command: str = ""
    args: list[str] = []
    env: list[Variable] = []
    api_version: str = Field("", alias="apiVersion")
    install_hint: str = Field("", alias="installHint")
    provide_cluster_info: bool = Field(False, alias="provideClusterInfo")
    interactive_mode: Literal["", "Never", "IfAvailable", "Always"] = Field("", alias="interactiveMode")


class AuthProvider(Entry):
    """The older form of `exec`."""

    name: str = ""
    config: dict[str, str] = {}


class User(Entry):
    """A user of a kubeconfig."""

    certificate_file: str = Field("", alias="client-certificate")
    certificate_data: Data = Field(b"", alias="client-certificate-data")
    key_file: str = Field("", alias="client-key")
    key_data: Data = Field(b"", alias="client-key-data")
    token: str = ""
    token_file: str = Field("", alias="tokenFile")
    as_: str = Field("", alias="as")
    as_uid: str = Field("", alias="as-uid")
    as_groups: list[str] = Field([], alias="as-groups")
    as_user_extra: dict[str, list[str]] = Field({}, alias="as-user-extra")
    username: str = ""
    password: str = ""
    auth_provider: AuthProvider | None = Field(None, alias="auth-provider")
    exec: Exec | None = None
    extensions: list[Extension] = []


class ContextEntry(Entry):
    """Which cluster and user belong together."""

    cluster: str = ""
    user: str = ""
    namespace: str = ""
    extensions: list[Extension] = []
