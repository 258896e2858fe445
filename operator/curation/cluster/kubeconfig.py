"""What a kubeconfig says, as kubectl understands it: which server, and who we are to it.

The rules are client-go's (tools/clientcmd): of several files the first that has a name, or a current-context, wins;
relative paths start at the folder of their file; options of the command line win over both. The official Python client
reads past what it does not know, `as` among it, and so acts as somebody else. Here each field is honoured, or the file
is refused by the field's name.
"""

import base64
import binascii
import json
import os
import re
import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar
from urllib.parse import quote, urlsplit

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from curation.cluster import yaml_text

_EXEC_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_EXEC_EXTENSION: Final = "client.authentication.k8s.io/exec"
_IN_HEADER_NAMES: Final = "!#$&'*+-.^_`|~"
_TOP: Final = frozenset(
    {"apiVersion", "kind", "clusters", "contexts", "users", "current-context", "preferences", "extensions"}
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

E = TypeVar("E", bound="_Entry")


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


class _Entry(BaseModel):
    """Every field that Kubernetes has for it; null is as if it were not there."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Extension(_Entry):
    name: str
    extension: Any = None


class ClusterEntry(_Entry):
    """A cluster of a kubeconfig."""

    server: str = ""
    tls_server_name: str = Field("", alias="tls-server-name")
    insecure: bool = Field(False, alias="insecure-skip-tls-verify")
    ca_file: str = Field("", alias="certificate-authority")
    ca_data: Data = Field(b"", alias="certificate-authority-data")
    proxy_url: str = Field("", alias="proxy-url")
    disable_compression: bool = Field(False, alias="disable-compression")
    extensions: list[_Extension] = []


class _Variable(_Entry):
    name: str
    value: str = ""


class Exec(_Entry):
    """A program that gives credentials."""

    command: str = ""
    args: list[str] = []
    env: list[_Variable] = []
    api_version: str = Field("", alias="apiVersion")
    install_hint: str = Field("", alias="installHint")
    provide_cluster_info: bool = Field(False, alias="provideClusterInfo")
    interactive_mode: Literal["", "Never", "IfAvailable", "Always"] = Field("", alias="interactiveMode")


class _AuthProvider(_Entry):
    name: str = ""
    config: dict[str, str] = {}


class User(_Entry):
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
    auth_provider: _AuthProvider | None = Field(None, alias="auth-provider")
    exec: Exec | None = None
    extensions: list[_Extension] = []


class _Context(_Entry):
    cluster: str = ""
    user: str = ""
    namespace: str = ""
    extensions: list[_Extension] = []


@dataclass(frozen=True)
class Overrides:
    """What the command line says instead of the kubeconfig; empty: nothing. The names are kubectl's options."""

    context: str = ""
    cluster: str = ""
    user: str = ""
    server: str = ""
    tls_server_name: str = ""
    insecure_skip_tls_verify: bool = False
    certificate_authority: str = ""
    client_certificate: str = ""
    client_key: str = ""
    token: str = ""
    username: str = ""
    password: str = ""
    as_user: str = ""
    as_uid: str = ""
    as_group: tuple[str, ...] = ()
    as_user_extra: tuple[str, ...] = ()
    """Each ``KEY=VALUE``."""
    disable_compression: bool = False


@dataclass(frozen=True)
class Access:
    """How to reach a server, and as whom. Of a file and its data at most one is there."""

    server: str
    namespace: str | None = None
    tls_server_name: str = ""
    insecure: bool = False
    ca_file: str = ""
    ca_data: bytes = b""
    proxy: str = ""
    disable_compression: bool = False
    certificate_file: str = ""
    certificate_data: bytes = b""
    key_file: str = ""
    key_data: bytes = b""
    token: str = ""
    token_file: str = ""
    """Once read, its content goes before `token`."""
    username: str = ""
    password: str = ""
    exec: Exec | None = None
    exec_cluster: Mapping[str, Any] = field(default_factory=dict)
    """What `exec` gets to know of the cluster, if it asks for that."""
    impersonation: tuple[tuple[str, str], ...] = ()
    """Headers of every request."""


def files(kubeconfig: str) -> list[Path]:
    """The files of a list as in KUBECONFIG that are there."""
    return [path for part in kubeconfig.split(os.pathsep) if part and (path := Path(part)).exists()]


def read(kubeconfig: str, overrides: Overrides | None = None) -> Access:
    """The access that the kubeconfig (a list of files) and the overrides name. Raises `ConfigurationError`."""
    chosen = overrides or Overrides()
    merged = _merged(files(kubeconfig))
    context_name = chosen.context or merged.current
    context = _Context()
    if context_name:
        context = merged.entry("context", context_name, _Context, "--context" if chosen.context else "current-context")
    elif not chosen.cluster and not chosen.server:
        raise ConfigurationError(
            "it has no current-context; choose one: kubectl config use-context NAME, or --context NAME"
        )
    cluster_name, user_name = chosen.cluster or context.cluster, chosen.user or context.user
    if not cluster_name and not chosen.server:
        raise ConfigurationError(f"context {context_name} names no cluster")
    cluster = ClusterEntry()
    if cluster_name:
        cluster = merged.entry("cluster", cluster_name, ClusterEntry, f"context {context_name}")
    user = User()
    if user_name:
        user = merged.entry("user", user_name, User, f"context {context_name}")
    cluster = _cluster_with(cluster, chosen)
    user = _user_with(user, chosen)
    where, who = f"cluster {cluster_name}".strip(), f"user {user_name}".strip()
    _check_cluster(where, cluster)
    _check_user(who, user)
    relative_c, relative_u = merged.folder("cluster", cluster_name), merged.folder("user", user_name)

    def in_folder(folder: Path, path: str, flag: str) -> str:
        return path if not path or flag else str(folder / path)

    ca_file = in_folder(relative_c, cluster.ca_file, chosen.certificate_authority)
    return Access(
        server=_server(where, cluster.server),
        namespace=context.namespace or None,
        tls_server_name=cluster.tls_server_name,
        insecure=cluster.insecure,
        ca_file=ca_file,
        ca_data=cluster.ca_data,
        proxy=cluster.proxy_url,
        disable_compression=cluster.disable_compression,
        certificate_file=in_folder(relative_u, user.certificate_file, chosen.client_certificate),
        certificate_data=user.certificate_data,
        key_file=in_folder(relative_u, user.key_file, chosen.client_key),
        key_data=user.key_data,
        token=user.token or _of_provider(who, user.auth_provider),
        token_file=in_folder(relative_u, user.token_file, ""),
        username=user.username,
        password=user.password,
        exec=_resolved(relative_u, user.exec),
        exec_cluster=_for_exec(cluster, ca_file) if user.exec and user.exec.provide_cluster_info else {},
        impersonation=_impersonation(user),
    )


class _Merged:
    """The entries of all files, by kind and name, each with its file."""

    def __init__(self) -> None:
        self.current = ""
        self._entries: dict[tuple[str, str], tuple[object, Path]] = {}

    def add(self, path: Path) -> None:
        document = _load(path)
        for kind in ("cluster", "context", "user"):
            named: set[str] = set()
            for number, item in enumerate(_items(path, document, f"{kind}s")):
                name = item.get("name")
                if not isinstance(name, str):
                    raise ConfigurationError(f"{path}: {kind}s[{number}].name: must be a string, not {name!r}")
                if name in named:
                    raise ConfigurationError(f"{path}: {kind}s: the name {name} is there twice")
                named.add(name)
                _check_fields(path, f"{kind}s[{number}].", item, {"name", kind})
                self._entries.setdefault((kind, name), (item.get(kind), path))
        current = document.get("current-context") or ""
        if not isinstance(current, str):
            raise ConfigurationError(f"{path}: current-context: must be a string, not {current!r}")
        self.current = self.current or current

    def entry(self, kind: str, name: str, model: type[E], named_by: str) -> E:
        """The entry. Raises `ConfigurationError` if there is none, or a field of it is not to be understood."""
        if (kind, name) not in self._entries:
            raise ConfigurationError(f"there is no {kind} of the name {name}, which {named_by} asks for")
        found, path = self._entries[kind, name]
        if found is None:
            return model()
        try:
            return model.model_validate(_without_nulls(found))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise _unknown(path, f"{kind} {name}: {place}") from None
            raise ConfigurationError(f"{path}: {kind} {name}: {place}: {first['msg']}") from None

    def folder(self, kind: str, name: str) -> Path:
        """Where its relative paths begin."""
        return self._entries.get((kind, name), (None, Path("x")))[1].absolute().parent


def _merged(paths: Sequence[Path]) -> _Merged:
    merged = _Merged()
    for path in paths:
        merged.add(path)
    return merged


def _unknown(path: Path, place: str) -> ConfigurationError:
    return ConfigurationError(f"{path}: {place}: is not a field that Kubernetes has; remove it")


def _check_fields(path: Path, place: str, document: Mapping[str, object], known: Set[str]) -> None:
    for name, value in document.items():
        if value is not None and name not in known:
            raise _unknown(path, f"{place}{name}")


def _load(path: Path) -> dict[str, Any]:
    try:
        document = yaml_text.load(path.read_bytes())
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path} is not a kubeconfig: it has to be a mapping")
    _check_fields(path, "", document, _TOP)
    for name, wanted in (("apiVersion", "v1"), ("kind", "Config")):
        if document.get(name) not in (None, "", wanted):
            raise ConfigurationError(f"{path} is not a kubeconfig: {name} is {document[name]!r}, not {wanted!r}")
    return document


def _items(path: Path, document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = document.get(name) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ConfigurationError(f"{path}: {name}: must be a list of mappings")
    return found


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def _cluster_with(cluster: ClusterEntry, chosen: Overrides) -> ClusterEntry:
    changes: dict[str, object] = {}
    if chosen.server:
        changes["server"] = chosen.server
    if chosen.insecure_skip_tls_verify or chosen.certificate_authority:
        changes |= {
            "insecure": chosen.insecure_skip_tls_verify,
            "ca_file": chosen.certificate_authority,
            "ca_data": b"",
        }
    if chosen.disable_compression:
        changes["disable_compression"] = True
    if chosen.server or chosen.tls_server_name:
        # Of another server the name in the kubeconfig says nothing.
        changes["tls_server_name"] = chosen.tls_server_name
    return cluster.model_copy(update=changes)


def _user_with(user: User, chosen: Overrides) -> User:
    given: dict[str, object] = {
        "token": chosen.token,
        "username": chosen.username,
        "password": chosen.password,
        "as_": chosen.as_user,
        "as_uid": chosen.as_uid,
        "as_groups": list(chosen.as_group),
        "as_user_extra": _extra(chosen.as_user_extra),
    }
    changes = {name: value for name, value in given.items() if value}
    if chosen.client_certificate:
        changes |= {"certificate_file": chosen.client_certificate, "certificate_data": b""}
    if chosen.client_key:
        changes |= {"key_file": chosen.client_key, "key_data": b""}
    return user.model_copy(update=changes)


def _extra(given: Sequence[str]) -> dict[str, list[str]]:
    extra: dict[str, list[str]] = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise ConfigurationError(f"--as-user-extra: {item!r} is not KEY=VALUE")
        extra.setdefault(key, []).append(value)
    return extra


def _check_cluster(where: str, cluster: ClusterEntry) -> None:
    if not cluster.server:
        raise ConfigurationError(f"{where or 'the kubeconfig'} has no server; give it one, or --server")
    if cluster.ca_file and cluster.ca_data:
        raise ConfigurationError(
            f"{where}: certificate-authority and certificate-authority-data exclude each other; remove one"
        )
    if cluster.insecure and (cluster.ca_file or cluster.ca_data):
        raise ConfigurationError(
            f"{where}: insecure-skip-tls-verify and a certificate-authority exclude each other; remove one"
        )
    if cluster.proxy_url:
        scheme = urlsplit(cluster.proxy_url).scheme
        if scheme not in ("http", "https"):
            raise ConfigurationError(f"{where}: proxy-url: {scheme or 'no'} scheme; only http and https are supported")


def _check_user(who: str, user: User) -> None:
    def refuse(what: str) -> None:
        raise ConfigurationError(f"{who or 'the options'}: {what}")

    for one, other in (("certificate", "client-certificate"), ("key", "client-key")):
        if getattr(user, f"{one}_file") and getattr(user, f"{one}_data"):
            refuse(f"{other} and {other}-data exclude each other; remove one")
    if (user.certificate_file or user.certificate_data) and not (user.key_file or user.key_data):
        refuse("client-certificate needs a client-key or client-key-data")
    if (user.username or user.password) and user.token:
        refuse("token and username exclude each other; remove one")
    if (user.as_uid or user.as_groups or user.as_user_extra) and not user.as_:
        refuse("as-uid, as-groups and as-user-extra need a user to impersonate: set as, or --as")
    if user.exec is not None:
        if user.auth_provider is not None:
            refuse("auth-provider and exec exclude each other; remove one")
        if not user.exec.command:
            refuse("exec.command: must be set")
        if user.exec.api_version not in _EXEC_VERSIONS:
            refuse(
                f"exec.apiVersion: {user.exec.api_version!r} is none of {', '.join(_EXEC_VERSIONS)}; "
                "update the plugin and the kubeconfig"
            )
        if user.exec.api_version == _EXEC_VERSIONS[0] and not user.exec.interactive_mode:
            refuse("exec.interactiveMode: must be set: Never, IfAvailable or Always")
    for name, value in (("token", user.token), ("username", user.username), *_impersonation(user)):
        if _CONTROL.search(value.strip()):
            refuse(f"{name}: holds a control character")


def _of_provider(who: str, provider: _AuthProvider | None) -> str:
    """client-go has one provider left, `oidc`; its id-token serves as long as it is valid."""
    if provider is None:
        return ""
    if provider.name != "oidc":
        raise ConfigurationError(
            f"{who}: auth-provider: {provider.name} is not supported, as in kubectl since 1.26; use exec, with the "
            "credential plugin of your provider"
        )
    token = provider.config.get("id-token", "")
    if not token:
        raise ConfigurationError(f"{who}: auth-provider.config.id-token: must be set; log in with your provider")
    expires = _expiry(token)
    if expires is not None and expires <= time.time():
        raise ConfigurationError(
            f"{who}: auth-provider.config.id-token has expired; run any kubectl command, which renews it, and try again"
        )
    return token


def _expiry(token: str) -> float | None:
    """When a JWT expires, in seconds since the epoch, as far as it says so."""
    try:
        payload = token.split(".")[1]
        expires = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
        return float(expires)
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def _server(where: str, server: str) -> str:
    """The server's URL without a slash at its end. client-go takes one without a scheme for http."""
    parts = urlsplit(server)
    if not (parts.scheme and parts.netloc):
        server = f"http://{server}"
        parts = urlsplit(server)
        if parts.path not in ("", "/"):
            raise ConfigurationError(f"{where}: server: {server!r} must be a URL or host:port")
    try:
        parts.port  # noqa: B018 (raises for a bad one)
    except ValueError as error:
        raise ConfigurationError(f"{where}: server: {server}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigurationError(f"{where}: server: {server} is not an http or https URL")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _resolved(folder: Path, plugin: Exec | None) -> Exec | None:
    # A bare name is searched for on the PATH.
    if plugin is None or os.sep not in plugin.command:
        return plugin
    return plugin.model_copy(update={"command": str(folder / plugin.command)})


def _for_exec(cluster: ClusterEntry, ca_file: str) -> dict[str, Any]:
    """spec.cluster of an ExecCredential."""
    data = cluster.ca_data
    if ca_file:
        try:
            data = Path(ca_file).read_bytes()
        except OSError as error:
            raise ConfigurationError(f"certificate-authority: {error}") from None
    found: dict[str, Any] = {
        "server": cluster.server,
        "tls-server-name": cluster.tls_server_name,
        "insecure-skip-tls-verify": cluster.insecure,
        "certificate-authority-data": base64.b64encode(data).decode(),
        "proxy-url": cluster.proxy_url,
        "disable-compression": cluster.disable_compression,
        "config": next((item.extension for item in cluster.extensions if item.name == _EXEC_EXTENSION), None),
    }
    return {name: value for name, value in found.items() if value}


def _impersonation(user: User) -> tuple[tuple[str, str], ...]:
    if not user.as_:
        return ()
    headers = [("Impersonate-User", user.as_)]
    if user.as_uid:
        headers.append(("Impersonate-Uid", user.as_uid))
    headers += [("Impersonate-Group", group) for group in user.as_groups]
    for key, values in user.as_user_extra.items():
        # What a header's name may not hold is percent-encoded, the percent sign too.
        name = quote(key, safe=_IN_HEADER_NAMES)
        headers += [(f"Impersonate-Extra-{name}", value) for value in values]
    return tuple(headers)
