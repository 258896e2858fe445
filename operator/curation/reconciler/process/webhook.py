"""The webhook of one replica: its listener's process, which is started again when it ends, and what that asks.

It serves from the start of this process, whether or not this one leads: a policy is checked without any state.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import Final

from cryptography import x509

from curation.admission.messages import (
    FROM_LISTENER,
    TO_LISTENER,
    Answer,
    Ask,
    Certificate,
    Fact,
    Known,
    Reviewed,
    Serve,
)
from curation.cluster.answers import APIError, Unreachable
from curation.cluster.credentials import ConfigurationError
from curation.cluster.resources import MODULES
from curation.isolation.channel import QueueFull
from curation.isolation.frames import Frame
from curation.isolation.hardening import Hardening
from curation.isolation.kept_server import KeptServer, ServerKind
from curation.isolation.tls_server import Shown
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.listening import listen, url
from curation.reconciler.runtime.metrics import WEBHOOK

log = logging.getLogger(__name__)

MEMORY_BYTES: Final = 768 << 20
"""Of the listener: its bodies are bounded to 64 MiB, and a body that is parsed takes some times its size."""
OPEN_FILES: Final = 512
ASKED_AT_ONCE: Final = 16
"""Questions of the listener's that wait for the API server."""
_LISTENER: Final = ServerKind(
    name="the webhook's listener",
    target="curation.admission.listener:main",
    hardening=Hardening(data_bytes=MEMORY_BYTES, nice=5, open_files=OPEN_FILES),
    to_child=TO_LISTENER,
    from_child=FROM_LISTENER,
    serve=Serve,
    certificate=Certificate,
)


class Webhook:
    """For the event loop of the process. Close it."""

    def __init__(self, context: Context, synced: Callable[[], bool]) -> None:
        """`synced` says whether the caches know all objects: before, nothing is said to be absent."""
        self._context = context
        self._synced = synced
        self._server = KeptServer(_LISTENER, self._told)
        self._pem = b""
        self._asked: set[asyncio.Task[None]] = set()
        self.url = ""

    def listen(self, host: str, port: int) -> None:
        """Listen. Connections wait until there is a certificate. Raises OSError if the port cannot be had."""
        self._server.sockets = listen(host, port)
        self.url = url(self._server.sockets[0]).replace("http://", "https://", 1)

    def start(self) -> None:
        """Start the listener's process, and keep one running."""
        serving = self._context.metrics.webhook_serving.labels(webhook=WEBHOOK)
        serving.set_function(lambda: float(self._server.serving))
        self._server.start()

    @property
    def certificate(self) -> bytes:
        """What is shown now: PEM."""
        return self._pem

    def show(self, pem: bytes) -> None:
        """Show this certificate from now on: PEM, with its key. Raises ValueError for one that is none."""
        expires = not_after(pem)
        if pem == self._pem:
            return
        self._pem = pem
        self._context.metrics.webhook_certificate_expiry.labels(webhook=WEBHOOK).set(expires)
        self._server.show(pem)

    async def close(self) -> None:
        """End the listener."""
        for task in self._asked:
            task.cancel()
        await asyncio.gather(*self._asked, return_exceptions=True)
        await self._server.close()

    def _told(self, frame: Frame) -> None:
        match frame:
            case Shown(problem=problem):
                if problem:
                    log.error("the webhook's certificate cannot be used, going on with the one before: %s", problem)
                else:
                    log.info("the webhook serves on %s", self.url, extra={"url": self.url})
            case Reviewed():
                self._context.metrics.reviews.labels(kind=frame.kind, verdict=frame.verdict).inc()
            case Ask():
                self._answer(frame)

    def _answer(self, ask: Ask) -> None:
        namespaces = self._context.settings.namespaces
        if (namespaces and ask.namespace not in namespaces) or not self._synced():
            self._say(ask, Known.UNKNOWN)
        elif ask.fact is Fact.MODULE:
            found = self._context.caches[MODULES].get(ask.namespace, ask.name)
            self._say(ask, Known.YES if found is not None else Known.ABSENT)
        elif len(self._asked) >= ASKED_AT_ONCE:
            self._say(ask, Known.UNKNOWN)
        else:
            task = asyncio.create_task(self._look(ask))
            self._asked.add(task)
            task.add_done_callback(self._asked.discard)

    async def _look(self, ask: Ask) -> None:
        try:
            found = await self._context.api.read_secret(ask.namespace, ask.name)
            known = Known.YES if found is not None else Known.ABSENT
        except APIError as error:
            known = Known.FORBIDDEN if error.code == 403 else Known.UNKNOWN
        except (Unreachable, ValueError):
            known = Known.UNKNOWN
        self._say(ask, known)

    def _say(self, ask: Ask, known: Known) -> None:
        if self._server.child is not None:
            try:
                self._server.child.send(Answer(number=ask.number, known=known))
            except QueueFull:
                log.warning("the webhook's listener takes no answers")


class CertificateFiles:
    """A certificate from files, such as those that cert-manager writes."""

    def __init__(self, certificate: Path, key: Path, show: Callable[[bytes], None]) -> None:
        self._files = (certificate, key)
        self._show = show

    def files(self) -> tuple[Path, ...]:
        """What it is read from."""
        return self._files

    async def renew(self) -> None:
        """Read and show it. Raises OSError and ValueError."""
        certificate, key = self._files
        self._show(key.read_bytes() + b"\n" + certificate.read_bytes())

    async def first(self) -> None:
        """The same, at the start. Raises ConfigurationError."""
        try:
            await self.renew()
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"the certificate of --https-bind cannot be used: {error}") from error


def not_after(pem: bytes) -> float:
    """When a certificate ends, in seconds since the epoch. Raises ValueError."""
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc.astimezone(UTC).timestamp()
