"""Keeps the webhook's Secret and the configuration that trusts it; the leader writes both, every replica reads one."""

import asyncio
import base64
import logging
from collections.abc import Callable
from typing import Any, Final

from curation.cluster.answers import APIError, Document, Unreachable
from curation.cluster.meaning import Fate, meaning
from curation.cluster.resources import SECRETS, ResourceKind
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
        self._namespace = namespace
        self._names = tuple(f"{NAME}.{namespace}.{suffix}" for suffix in ("svc", "svc.cluster.local"))
        self._show = show
        self._leading = leading
        self._said = ""

    async def run(self) -> None:
        """Check without end."""
        shown = False
        while True:
            try:
                shown = await self.check() or shown
                self._report("")
            except (APIError, Unreachable, ValueError, KeyError, TypeError) as error:
                self._report(str(error))
            except Exception:
                log.exception("the webhook's certificate could not be checked")
            await asyncio.sleep(CHECK_SECONDS if shown else FIRST_SECONDS)

    async def check(self) -> bool:
        """Take one step, if this process leads; show what is to be shown. True if there is something to show."""
        secret = await self._context.api.read_secret(self._namespace, NAME)
        if secret is None:
            raise ValueError(f"there is no Secret {self._namespace}/{NAME}: apply manifests/components/webhook")
        kept = Kept.read(secret.get("data") or {})
        if self._leading():
            kept = await self._advanced(secret, kept)
        if kept.shown is None:
            return False
        self._show(kept.pem)
        return True

    async def _advanced(self, secret: Document, kept: Kept) -> Kept:
        trusted = await self._trusted(kept.bundle)
        wanted = following(kept, self._names, trusted, self._context.clock.now())
        if wanted != kept:
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
            log.info("the webhook's certificate has come a step further: %s", _step(wanted))
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

    def _report(self, problem: str) -> None:
        """Once for as long as it lasts."""
        if problem and problem != self._said:
            log.error("the webhook's certificate is not kept: %s", problem)
        self._said = problem


def _step(kept: Kept) -> str:
    if kept.coming is not None:
        return "the next authority is to be trusted beside the present one"
    if kept.going:
        return "the next certificate is shown, and the authority before it is still trusted"
    return "one authority is trusted"
