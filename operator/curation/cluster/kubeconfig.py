"""What a kubeconfig says, as kubectl understands it: which server, and who we are to it.

The rules are client-go's (tools/clientcmd): of several files the first that has a name, or a current-context, wins;
relative paths start at the folder of their file; options of the command line win over both. The official Python client
reads past what it does not know, `as` among it, and so acts as somebody else. Here each field is honoured, or the file
is refused by the field's name.

Called by `credentials`. `kubeconfig_entries` has the fields, `kubeconfig_files` merges files, and `kubeconfig_checks`
refuses what client-go refuses.
"""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from curation.cluster.kubeconfig_checks import (
    check_cluster,
    check_user,
    impersonation_headers,
    server_url,
    token_of_provider,
)
from curation.cluster.kubeconfig_entries import ClusterEntry, ConfigurationError, ContextEntry, Exec, User
from curation.cluster.kubeconfig_files import merged_files

_EXEC_EXTENSION: Final = "client.authentication.k8s.io/exec"


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
    merged = merged_files(files(kubeconfig))
    context_name = chosen.context or merged.current
    context = ContextEntry()
    if context_name:
        context = merged.entry(
            "context", context_name, ContextEntry, "--context" if chosen.context else "current-context"
        )
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
    check_cluster(where, cluster)
    check_user(who, user)
    relative_c, relative_u = merged.folder("cluster", cluster_name), merged.folder("user", user_name)

    def in_folder(folder: Path, path: str, flag: str) -> str:
        return path if not path or flag else str(folder / path)

    ca_file = in_folder(relative_c, cluster.ca_file, chosen.certificate_authority)
    return Access(
        server=server_url(where, cluster.server),
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
        token=user.token or token_of_provider(who, user.auth_provider),
        token_file=in_folder(relative_u, user.token_file, ""),
        username=user.username,
        password=user.password,
        exec=_resolved(relative_u, user.exec),
        exec_cluster=_for_exec(cluster, ca_file) if user.exec and user.exec.provide_cluster_info else {},
        impersonation=impersonation_headers(user),
    )


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
