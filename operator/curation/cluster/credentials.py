"""Where the API server is and who we are to it: KUBECONFIG, the pod's service account, or ~/.kube/config.

This module decides which, and keeps them fresh: a service account token is re-read every minute, token files and exec
plugins are asked again, renewed certificates and authorities make a new TLS context.
"""

import asyncio
import base64
import logging
import os
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import incluster_config

from curation.cluster import exec_plugin, kubeconfig, tls
from curation.cluster.exec_plugin import ExecCredential
from curation.cluster.kubeconfig import Access, Overrides
from curation.cluster.kubeconfig_entries import ConfigurationError as ConfigurationError
from curation.cluster.kubeconfig_entries import Exec
from curation.cluster.proxies import ProxyUnusable, proxy_for

logger = logging.getLogger(__name__)

# client-go and the official Python client both re-read a token file after a minute; tokens live an hour.
REFRESH_PERIOD: Final = 60.0
# A server that goes on answering 401 must not make us run an exec plugin for each answer.
RENEWAL_PERIOD: Final = 5.0
# A plugin that hangs must not hold every refused request for ever.
RENEWAL_SECONDS: Final = 60.0


class ClusterCredentials:
    """Who we are, and its refreshing. Use `load`."""

    def __init__(self, kubeconfig: str | None, overrides: Overrides) -> None:
        self.configuration = Configuration()
        """Of the official client: the server's address and the proxy. It knows nothing of who we are."""
        self._kubeconfig = kubeconfig
        self._overrides = overrides
        self._access = Access("")
        self._token = ""
        self._given: ExecCredential | None = None
        self._tls_context: ssl.SSLContext | None = None
        self._tls_files: tuple[object, ...] = ()
        self._refresh_at = 0.0
        self._renew_at = 0.0
        self._renewal: asyncio.Task[bool] | None = None
        self.use_tls: Callable[[ssl.SSLContext], None] = lambda _: None
        """Called with the context for connections from now on, when what it is made of was renewed."""

    async def authorization(self) -> str | None:
        """The Authorization header of a request that leaves now; None with a client certificate, or with nothing."""
        if time.monotonic() >= self._refresh_at:
            await self._refresh()
        if self._token:
            return f"Bearer {self._token}"
        access = self._access
        if access.username or access.password:
            return "Basic " + base64.b64encode(f"{access.username}:{access.password}".encode()).decode()
        return f"Bearer {self._given.token}" if self._given is not None and self._given.token else None

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """What else each request carries: whom we impersonate, whether answers may be compressed."""
        compression = (("Accept-Encoding", "identity"),) if self._access.disable_compression else ()
        return (*self._access.impersonation, *compression)

    @property
    def namespace(self) -> str | None:
        """The namespace of the kubeconfig's context, or of the pod."""
        if self._kubeconfig is not None:
            return self._access.namespace
        file = Path(incluster_config.SERVICE_TOKEN_FILENAME).with_name("namespace")
        return file.read_text().strip() if file.is_file() else None

    def tls_context(self) -> ssl.SSLContext:
        """The context for the connections, until `use_tls` is called with another one."""
        self._tls_files = self._stamps()
        self._tls_context = context = self._made_tls_context()
        return context

    def files(self) -> list[Path]:
        """The files that all this was read from: the kubeconfig, and those that it names; or those of the pod."""
        access = self._access
        named = (access.ca_file, access.token_file, access.certificate_file, access.key_file)
        listed = [Path(part) for part in (self._kubeconfig or "").split(os.pathsep) if part]
        return [*listed, *(Path(file) for file in named if file)]

    async def renew_from_files(self) -> None:
        """Take what is in the files now. Raises `ConfigurationError` if that is no use; then nothing changes."""
        try:
            async with asyncio.timeout(RENEWAL_SECONDS):
                found = ClusterCredentials(self._kubeconfig, self._overrides)
                await found._read()
                if found._access.server != self._access.server:
                    server = found._access.server
                    raise ConfigurationError(f"it names another server, {server}; restart the operator to go there")
                context = found.tls_context()
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError(str(error) or type(error).__name__) from error
        self._access, self._token, self._given = found._access, found._token, found._given
        self._refresh_at = found._refresh_at
        self._tls_context, self._tls_files = context, found._tls_files
        self.use_tls(context)

    async def renew(self) -> bool:
        """Read everything anew, since the server answered 401; who asks meanwhile waits for the same reading.

        False when that was done a moment ago, or failed. It goes on when the one that asked for it is cancelled.
        """
        if self._renewal is None:
            if time.monotonic() < self._renew_at:
                return False
            self._renewal = asyncio.create_task(self._read_anew())
        renewal = self._renewal
        # Trap: to await the task itself would cancel it for all with the first that is cancelled, and them with it.
        await asyncio.wait([renewal])
        return not renewal.cancelled() and renewal.result()

    async def _read_anew(self) -> bool:
        try:
            async with asyncio.timeout(RENEWAL_SECONDS) as limit:
                await self._read()
        except Exception as error:
            why = f"no answer within {RENEWAL_SECONDS:g} s" if limit.expired() else error
            logger.warning("Cannot read the credentials anew: %s", why)
            return False
        finally:
            self._renew_at = time.monotonic() + RENEWAL_PERIOD
            self._renewal = None
        return True

    async def close(self) -> None:
        """End a renewal that is under way; for whoever waits for it, it has failed."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    async def _read(self) -> None:
        if self._kubeconfig is None:
            in_cluster = Configuration()
            config.load_incluster_config(in_cluster)  # type: ignore[no-untyped-call]
            self._access = Access(
                server=in_cluster.host,
                ca_file=in_cluster.ssl_ca_cert or "",
                token_file=incluster_config.SERVICE_TOKEN_FILENAME,
            )
        else:
            self._access = kubeconfig.read(self._kubeconfig, self._overrides)
        access = self._access
        self.configuration.host = access.server
        self.configuration.tls_server_name = access.tls_server_name or None
        # To spare the official client the reading of the system's authorities; connections use our own context.
        self.configuration.ssl_ca_cert = access.ca_file or None
        self.configuration.ca_cert_data = access.ca_data.decode() or None
        self._token = access.token.strip()
        self._read_token_file(required=not self._token)
        plugin = self._plugin()
        self._given = None if plugin is None else await exec_plugin.run(plugin, access)
        self._refresh_at = time.monotonic() + REFRESH_PERIOD
        self._reload_tls()

    def _plugin(self) -> Exec | None:
        """As for client-go, what was given otherwise goes before what a plugin would give."""
        access = self._access
        given = self._token or access.username or access.password or access.certificate_file or access.certificate_data
        return None if given else access.exec

    def _read_token_file(self, *, required: bool) -> None:
        """What is in the file goes before the token of the kubeconfig, as soon as it could be read once."""
        path = self._access.token_file
        if not path:
            return
        try:
            token = Path(path).read_text().strip()
            if not token:
                raise ConfigurationError(f"the token file {path} is empty")
            self._token = token
        except (OSError, ValueError, ConfigurationError) as error:
            if required:
                raise ConfigurationError(f"cannot read the token: {error}") from None
            logger.warning("Cannot refresh the credentials, going on with the old ones: %s", error)

    async def _refresh(self) -> None:
        # Set before the wait: meanwhile other requests go on with the credentials they have.
        self._refresh_at = time.monotonic() + REFRESH_PERIOD
        self._read_token_file(required=False)
        try:
            if self._given is not None and self._given.expired():
                assert self._access.exec is not None
                self._given = await exec_plugin.run(self._access.exec, self._access)
            self._reload_tls()
        except ConfigurationError as error:
            logger.warning("Cannot refresh the credentials, going on with the old ones: %s", error)

    def _certificate(self) -> tuple[str | bytes, str | bytes] | None:
        access = self._access
        certificate = access.certificate_data or access.certificate_file
        if certificate:
            return certificate, access.key_data or access.key_file
        if self._given is not None and self._given.certificate:
            return self._given.certificate, self._given.key
        return None

    def _made_tls_context(self) -> ssl.SSLContext:
        access = self._access
        context = tls.make_context(ca_file=access.ca_file, ca_data=access.ca_data, insecure=access.insecure)
        if (pair := self._certificate()) is not None:
            tls.load_certificate(context, certificate=pair[0], key=pair[1])
        return context

    def _stamps(self) -> tuple[object, ...]:
        """What the TLS context was made of: it changes with the files, or with what a plugin gave."""
        pair = self._certificate() or ()
        parts = (self._access.ca_file, self._access.ca_data, *pair)
        try:
            return tuple(
                (part, Path(part).stat().st_mtime_ns) if isinstance(part, str) else part for part in parts if part
            )
        except OSError as error:
            raise ConfigurationError(f"TLS credentials: {error}") from None

    def _reload_tls(self) -> None:
        if self._tls_context is None or (stamps := self._stamps()) == self._tls_files:
            return
        # Trap: what a living context was given once, it trusts for ever, and prefers to a new authority of the same
        # name; and one that was given one bad file of two is spoilt.
        self._tls_context = self._made_tls_context()
        self.use_tls(self._tls_context)
        self._tls_files = stamps
        logger.info("Loaded the renewed TLS credentials of the API server connection")


async def load(environ: Mapping[str, str] = os.environ, *, overrides: Overrides | None = None) -> ClusterCredentials:
    """Find the cluster in the order of client-go's tools: KUBECONFIG, service account, ~/.kube/config.

    ``overrides`` is what a command line says instead of the kubeconfig. Raises `ConfigurationError`.
    """
    chosen = overrides or Overrides()
    listed: str | None = environ.get("KUBECONFIG") or None
    in_cluster = listed is None and bool(environ.get(incluster_config.SERVICE_HOST_ENV_NAME)) and not chosen.server
    if not in_cluster:
        listed = listed or str(Path.home() / ".kube" / "config")
        if not any(path.stat().st_size for path in kubeconfig.files(listed)) and not chosen.server:
            raise ConfigurationError(
                f"No cluster to talk to: {listed} does not exist, or is empty. Set KUBECONFIG to a kubeconfig file, or "
                "run in a pod with a service account"
            )
    credentials = ClusterCredentials(None if in_cluster else listed, chosen)
    try:
        await credentials._read()
    except Exception as error:
        source = f"kubeconfig {listed}" if listed else "pod's service account"
        raise ConfigurationError(f"Cannot read the cluster access from the {source}: {error}") from error
    access = credentials._access
    try:
        credentials.configuration.proxy = access.proxy or proxy_for(access.server, environ)
    except ProxyUnusable as error:
        raise ConfigurationError(str(error)) from error
    return credentials
