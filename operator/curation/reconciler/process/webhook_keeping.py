"""Keeps the webhook's Secret and the configuration that trusts it; the leader writes both, every replica reads one."""

import base64
import logging
from collections.abc import Callable
from typing import Any, Final

from curation.cluster.answers import Document
from curation.cluster.meaning import Fate, meaning
from curation.cluster.resources import ResourceKind
from curation.reconciler.process.certificate_secret import CertificateSecret
from curation.reconciler.process.webhook_certificate import Kept, following
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.metrics import WEBHOOK

log = logging.getLogger(__name__)

CONFIGURATIONS: Final = ResourceKind(
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    "admissionregistration.k8s.io",
    "v1",
    namespaced=False,
)
CONFIGURATION: Final = "curation-operator"
NAME: Final = "curation-operator-webhook"
"""Of the Secret and of the Service."""
CHECK_SECONDS: Final = 30.0
FIRST_SECONDS: Final = 2.0
"""While there is no certificate."""


class WebhookKeeping:
    """One replica's part in it."""

    def __init__(
        self, context: Context, namespace: str, show: Callable[[bytes], None], leading: Callable[[], bool]
    ) -> None:
        """`namespace` is the operator's own; `show` takes what is to be shown, and raises ValueError."""
        self._context = context
        self._secret = CertificateSecret(
            context, namespace, NAME, of="the webhook", component="manifests/components/webhook"
        )
        self._names = tuple(f"{NAME}.{namespace}.{suffix}" for suffix in ("svc", "svc.cluster.local"))
        self._show = show
        self._leading = leading
        self._shown = False

    async def run(self) -> None:
        """Check without end."""
        await self._secret.run(self.check, lambda: CHECK_SECONDS if self._shown else FIRST_SECONDS)

    async def check(self) -> None:
        """Take one step, if this process leads; show what is to be shown."""
        secret, kept = await self._secret.read()
        if self._leading():
            kept = await self._advanced(secret, kept)
        if kept.shown is not None:
            self._show(kept.pem)
            self._shown = True

    async def _advanced(self, secret: Document, kept: Kept) -> Kept:
        trusted = await self._trusted(kept.bundle)
        wanted = following(kept, self._names, trusted, self._context.clock.now())
        if wanted != kept:
            await self._secret.write(secret, wanted)
            trusted = await self._trusted(wanted.bundle)
        self._context.metrics.webhook_trusted.labels(webhook=WEBHOOK).set(trusted)
        return wanted

    async def _trusted(self, bundle: bytes) -> bool:
        """Let the API server trust these authorities; whether it is told to. Raises ValueError if it cannot be told."""
        if not bundle:
            return False
        found = await self._context.api.get(CONFIGURATIONS, None, CONFIGURATION)
        if found is None:
            self._context.metrics.webhook_trusted.labels(webhook=WEBHOOK).set(0)
            raise ValueError(
                f"there is no ValidatingWebhookConfiguration {CONFIGURATION}, so policies are not checked before they "
                "are stored: apply manifests/components/webhook"
            )
        encoded = base64.b64encode(bundle).decode()
        webhooks: list[Any] = found.get("webhooks") or []
        if all(each["clientConfig"].get("caBundle") == encoded for each in webhooks):
            return bool(webhooks)
        for each in webhooks:
            each["clientConfig"]["caBundle"] = encoded
        answer = await self._context.writer.patch(
            CONFIGURATIONS,
            None,
            CONFIGURATION,
            resource_version=str(found["metadata"]["resourceVersion"]),
            body={"webhooks": webhooks},
            subresource=None,
        )
        if meaning(answer).fate is not Fate.LANDED:  # the next check reads what is there
            self._context.metrics.webhook_trusted.labels(webhook=WEBHOOK).set(0)
            raise ValueError(f"the ValidatingWebhookConfiguration {CONFIGURATION} is not written: {answer}")
        log.info("the API server is told to trust the webhook's authority")
        return True
