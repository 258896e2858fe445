"""Where the API server is and who we are to it: KUBECONFIG, the pod's service account, or ~/.kube/config.

The official client reads them; this module decides which, and keeps them fresh: a service account token is re-read
every minute, token files and exec plugins are asked again, client certificates are loaded into the living TLS context.
"""

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import yaml
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import incluster_config

logger = logging.getLogger(__name__)

# client-go and the official Python client both re-read a token file after a minute; tokens live an hour.
REFRESH_PERIOD: Final = 60.0
# A server that goes on answering 401 must not make us run an exec plugin for each answer.
RENEWAL_PERIOD: Final = 5.0
# A plugin that hangs must not hold every refused request for ever.
RENEWAL_SECONDS: Final = 60.0


class ConfigurationError(Exception):
    """There is no way to the cluster in the environment; the message says what to set."""


class Credentials:
    """The configuration of the official client, and its refreshing. Use `load`."""

    def __init__(self, configuration: Configuration, kubeconfig: str | None, context: str | None) -> None:
        self.configuration = configuration
        self._kubeconfig = kubeconfig
        self._context = context
        self._loader: Any = None
        self._tls_context: ssl.SSLContext | None = None
        self._tls_files: tuple[object, ...] = ()
        self._refresh_at = 0.0
        self._renew_at = 0.0
        self._renewal: asyncio.Task[bool] | None = None

    async def authorization(self) -> str | None:
        """The Authorization header of a request that leaves now; None with a client certificate, or with nothing."""
        key: str | None = await self.configuration.get_api_key_with_prefix("BearerToken")
        return key.strip() if key else None

    @property
    def namespace(self) -> str | None:
        """The namespace of the kubeconfig's context, or of the pod."""
        if self._loader is not None:
            context: dict[str, str] = self._loader.current_context["context"]
            return context.get("namespace")
        file = Path(incluster_config.SERVICE_TOKEN_FILENAME).with_name("namespace")
        return file.read_text().strip() if file.is_file() else None

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
        """End a renewal that is under way; who waits for it is told that it failed."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    def keep_fresh_in(self, context: ssl.SSLContext) -> None:
        """Load renewed client certificates and authorities into this context: new connections use them."""
        self._tls_context = context
        self._tls_files = self._stamps()

    async def _read(self) -> None:
        if self._kubeconfig is None:
            config.load_incluster_config(self.configuration)  # type: ignore[no-untyped-call]
            return
        # Not persisted: an operator has no business in the user's kubeconfig.
        self._loader = await config.load_kube_config(  # type: ignore[no-untyped-call]
            self._kubeconfig,
            context=self._context or _current_context(self._kubeconfig),
            client_configuration=self.configuration,
            persist_config=False,
        )
        self._refresh_at = time.monotonic() + REFRESH_PERIOD
        self.configuration.refresh_api_key_hook = self._refresh  # type: ignore[assignment]
        self._reload_tls()

    async def _refresh(self, configuration: Configuration) -> None:
        if time.monotonic() < self._refresh_at:
            return
        # Set before the wait: meanwhile other requests go on with the credentials they have.
        self._refresh_at = time.monotonic() + REFRESH_PERIOD
        try:
            await self._loader.load_and_set(configuration)
            self._reload_tls()
        except Exception as error:
            logger.warning("Cannot refresh the credentials, going on with the old ones: %s", error)

    def _stamps(self) -> tuple[object, ...]:
        files = (self.configuration.ssl_ca_cert, self.configuration.cert_file, self.configuration.key_file)
        return tuple((file, Path(file).stat().st_mtime_ns) for file in files if file)

    def _reload_tls(self) -> None:
        if self._tls_context is None or (stamps := self._stamps()) == self._tls_files:
            return
        if self.configuration.ssl_ca_cert:
            self._tls_context.load_verify_locations(cafile=self.configuration.ssl_ca_cert)
        if self.configuration.cert_file:
            self._tls_context.load_cert_chain(self.configuration.cert_file, self.configuration.key_file)
        self._tls_files = stamps
        logger.info("Loaded the renewed TLS credentials of the API server connection")


async def load(environ: Mapping[str, str] = os.environ, *, context: str | None = None) -> Credentials:
    """Find the cluster in the order of client-go's tools: KUBECONFIG, service account, ~/.kube/config.

    ``context`` chooses one of the kubeconfig's contexts. Raises `ConfigurationError`.
    """
    kubeconfig: str | None = environ.get("KUBECONFIG") or None
    in_cluster = kubeconfig is None and bool(environ.get(incluster_config.SERVICE_HOST_ENV_NAME))
    if not in_cluster:
        kubeconfig = kubeconfig or str(Path.home() / ".kube" / "config")
        if not _files(kubeconfig):
            raise ConfigurationError(
                f"No cluster to talk to: {kubeconfig} does not exist. Set KUBECONFIG to a kubeconfig file, or run in a "
                "pod with a service account"
            )
    credentials = Credentials(Configuration(), kubeconfig, context)
    try:
        await credentials._read()
    except Exception as error:
        source = f"kubeconfig {kubeconfig}" if kubeconfig else "pod's service account"
        raise ConfigurationError(f"Cannot read the cluster access from the {source}: {error}") from error
    if not credentials.configuration.proxy:
        credentials.configuration.proxy = _proxy_from_environment(credentials.configuration.host)
    return credentials


def _files(kubeconfig: str) -> list[Path]:
    paths = (Path(part).expanduser() for part in kubeconfig.split(os.pathsep) if part)
    return [path for path in paths if path.is_file()]


def _current_context(kubeconfig: str) -> str | None:
    """Trap: of several files the official client takes the last one's current-context, kubectl the first one's."""
    for path in _files(kubeconfig):
        document = yaml.safe_load(path.read_text())
        if isinstance(document, dict) and document.get("current-context"):
            return str(document["current-context"])
    return None


def _proxy_from_environment(server: str) -> str | None:
    """HTTPS_PROXY and NO_PROXY, read once: aiohttp's own trust_env looks into ~/.netrc at every request."""
    url = urlsplit(server)
    host = url.hostname or ""
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if loopback or proxy_bypass(url.netloc.rpartition("@")[2]):
        return None
    return getproxies().get(url.scheme)
