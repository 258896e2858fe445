"""Keeps the certificate of the door of guest pods: the leader makes it in a Secret, every replica shows it.

A pod is told once, when it is made, whom to trust. So the next authority is told to pods for longer than any pod lives
before its certificate is shown.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Final

from curation.reconciler.process.certificate_secret import CertificateSecret
from curation.reconciler.process.webhook_certificate import Kept, following
from curation.reconciler.runtime.context import Context

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
        self._secret = CertificateSecret(
            context, namespace, NAME, of="the door", component="manifests/components/guest-pods"
        )
        self._names = (host, f"{host}.cluster.local") if host.endswith(".svc") else (host,)
        self._leading = leading
        self._on_change = on_change
        self._kept = Kept()

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
        why = self._secret.problem
        return f"The door of guest pods has no certificate yet{f': {why}' if why else ''}."

    async def run(self) -> None:
        """Check without end."""
        await self._secret.run(self.check, lambda: CHECK_SECONDS if self._kept.shown is not None else FIRST_SECONDS)

    async def check(self) -> None:
        """Take one step, if this process leads; take in what is to be shown."""
        secret, kept = await self._secret.read()
        if self._leading():
            wanted = following(kept, self._names, True, self._context.clock.now(), TRUSTED_FOR)
            if wanted != kept:
                await self._secret.write(secret, wanted)
            kept = wanted
        if kept != self._kept:
            self._kept = kept
            self._on_change()
