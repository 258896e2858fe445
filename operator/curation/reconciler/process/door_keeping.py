"""Keeps the certificate of the door of guest pods: the leader makes it in a Secret, every replica shows it.

A pod is told once, when it is made, whom to trust. So the next authority is told to pods for longer than any pod lives
before its certificate is shown.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from curation.cluster.answers import APIError, Document, Unreachable
from curation.cluster.meaning import Fate, meaning
from curation.cluster.resources import SECRETS
from curation.reconciler.process.webhook_certificate import Kept, following
from curation.reconciler.runtime.context import Context

log = logging.getLogger(__name__)

NAME: Final = "curation-operator-door"
"""Of the Secret and of the Service."""
TRUSTED_FOR: Final = timedelta(hours=2)
"""The longest wall limit is an hour, and the times to begin and to report are ten minutes each."""
CHECK_SECONDS: Final = 30.0
FIRST_SECONDS: Final = 1.0
"""While there is no certificate."""


class DoorKeeping:
    """One replica's part in it."""

    def __init__(
        self,
        context: Context,
        namespace: str,
        host: str,
        leading: Callable[[], bool],
        on_change: Callable[[], None],
    ) -> None:
        """`namespace` is the operator's own; `host` is the name by which pods know the door."""
        self._context = context
        self._namespace = namespace
        self._names = (host, f"{host}.cluster.local") if host.endswith(".svc") else (host,)
        self._leading = leading
        self._on_change = on_change
        self._kept = Kept()
        self._said = ""

    @property
    def certificate(self) -> tuple[bytes, bytes]:
        """What is shown, and its key: PEM. Empty while there is none."""
        shown = self._kept.shown
        return (shown.certificate, shown.key) if shown is not None else (b"", b"")

    @property
    def authority(self) -> bytes:
        """Whom pods are to trust: PEM."""
        return self._kept.bundle

    @property
    def problem(self) -> str:
        """Why there is none; empty if there is one."""
        if self._kept.shown is not None:
            return ""
        return f"The door of guest pods has no certificate yet{f': {self._said}' if self._said else ''}."

    async def run(self) -> None:
        """Check without end."""
        while True:
            try:
                await self.check()
                self._report("")
            except (APIError, Unreachable, ValueError, KeyError, TypeError) as error:
                self._report(str(error))
            except Exception:
                log.exception("the door's certificate could not be checked")
            await asyncio.sleep(CHECK_SECONDS if self._kept.shown is not None else FIRST_SECONDS)

    async def check(self) -> None:
        """Take one step, if this process leads; take in what is to be shown."""
        secret = await self._context.api.read_secret(self._namespace, NAME)
        if secret is None:
            raise ValueError(f"there is no Secret {self._namespace}/{NAME}: apply manifests/components/guest-pods")
        kept = Kept.read(secret.get("data") or {})
        if self._leading():
            kept = await self._advanced(secret, kept)
        if kept != self._kept:
            self._kept = kept
            self._on_change()

    async def _advanced(self, secret: Document, kept: Kept) -> Kept:
        wanted = following(kept, self._names, True, self._context.clock.now(), TRUSTED_FOR)
        if wanted == kept:
            return kept
        answer = await self._context.writer.patch(
            SECRETS,
            self._namespace,
            NAME,
            resource_version=str(secret["metadata"]["resourceVersion"]),
            body={"data": wanted.data()},
            subresource=None,
        )
        if meaning(answer).fate is not Fate.LANDED:  # the next check reads what is there
            raise ValueError(f"the Secret {self._namespace}/{NAME} is not written: {answer}")
        log.info("the door's certificate has come a step further")
        return wanted

    def _report(self, problem: str) -> None:
        """Once for as long as it lasts."""
        if problem and problem != self._said:
            log.error("the door's certificate is not kept: %s", problem)
        self._said = problem
