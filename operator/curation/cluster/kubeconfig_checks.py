"""What client-go refuses in an entry of a kubeconfig, and what it makes of single fields. Used by `kubeconfig`."""

import base64
import json
import re
import time
from typing import Final
from urllib.parse import quote, urlsplit

from curation.cluster.kubeconfig_entries import AuthProvider, ClusterEntry, ConfigurationError, User

_EXEC_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_IN_HEADER_NAMES: Final = "!#$&'*+-.^_`|~"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def check_cluster(where: str, cluster: ClusterEntry) -> None:
    """Raises `ConfigurationError` for fields that exclude each other or are missing."""

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


def check_user(who: str, user: User) -> None:
    """Raises `ConfigurationError` for fields that exclude each other or are missing."""

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
    for name, value in (("token", user.token), ("username", user.username), *impersonation_headers(user)):
        if _CONTROL.search(value.strip()):
            refuse(f"{name}: holds a control character")


def token_of_provider(who: str, provider: AuthProvider | None) -> str:
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


def server_url(where: str, server: str) -> str:
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


def impersonation_headers(user: User) -> tuple[tuple[str, str], ...]:
    """The headers by which requests are made as somebody else."""

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
