"""Whether the API server reaches the webhook: the leader creates an approval as a dry run, which that is asked about.

What the operator serves says nothing about it: a firewall, a Service that leads nowhere or an authority that is not
trusted lie in between. So the leader looks the way that a policy takes, and says what the API server says. Only a dry
run of that one name is asked about (manifests/components/webhook/webhook.yaml), and nothing is ever stored.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from curation.admission.reviews import PROBE, REACHED
from curation.api.approval import ApprovalSpec, EvaluatedRequest, request_digest
from curation.api.names import API_VERSION, Trigger
from curation.cluster.answers import Created, Document, Exists, Refused, Unknown
from curation.cluster.resources import APPROVALS
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.metrics import WEBHOOK

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 30.0
AGAIN_SECONDS: Final = 10.0
"""While it is not reached."""
IDLE_SECONDS: Final = 1.0
"""While this process does not lead."""
_FAILED: Final = 'failed calling webhook "probe.curation.dev"'
_REQUEST: Final = EvaluatedRequest(
    module=PROBE,
    module_digest=f"sha256:{'0' * 64}",
    trigger=Trigger.SUBMIT,
    method="GET",
    scheme="https",
    host="probe.invalid",
    port=443,
    path="/",
)


class WebhookReach:
    """One replica's part in it: the leader looks."""

    def __init__(self, context: Context, leading: Callable[[], bool]) -> None:
        self._context = context
        self._leading = leading
        self._said: str | None = None
        settings = context.settings
        own = settings.lease.namespace if settings.lease is not None else "default"
        # Where it may create approvals in any case.
        self.namespace = settings.namespaces[0] if settings.namespaces else own

    async def run(self) -> None:
        """Look without end."""
        while True:
            if not self._leading():
                await asyncio.sleep(IDLE_SECONDS)
                continue
            try:
                reached = await self.look()
            except Exception:
                log.exception("whether the API server reaches the webhook could not be found out")
                reached = False
            await asyncio.sleep(LOOK_SECONDS if reached else AGAIN_SECONDS)

    async def look(self) -> bool:
        """Look once; the metric and the log say what was seen. False also if the API server does not say."""
        answer, warnings = await self._context.api.try_to_create(APPROVALS, self.namespace, _probe(self.namespace))
        match answer:
            # What is said comes first: also where an object has that name.
            case Created() | Exists() if any(REACHED in each for each in warnings):
                self._note(1, "")
                return True
            case Created() | Exists():
                self._note(
                    0,
                    "the API server does not ask the webhook, so policies are stored unchecked: apply "
                    "manifests/components/webhook of this release",
                )
            case Unknown(message) if _FAILED in message:
                why = message[message.index(_FAILED) :]
                self._note(0, f"the API server does not reach the webhook, so it refuses new policy texts: {why[:500]}")
            case Refused(code, _, message):
                # Whatever it is (a missing right, a namespace that ends, another's webhook), it says nothing of ours.
                self._note(None, f"the API server does not say whether it reaches the webhook: {code} {message[:500]}")
            case _:
                pass  # it is busy or away, which other metrics say
        return False

    def _note(self, reached: int | None, problem: str) -> None:
        gauge = self._context.metrics.webhook_reached
        if reached is not None:
            gauge.labels(webhook=WEBHOOK).set(reached)
        else:
            with suppress(KeyError):
                gauge.remove(WEBHOOK)  # what was known before says nothing of now
        if problem == self._said:
            return  # once for as long as it lasts
        self._said = problem
        if problem:
            log.error("%s", problem)
        else:
            log.info("the API server reaches the webhook")


def _probe(namespace: str) -> Document:
    spec = ApprovalSpec(request=_REQUEST, request_digest=request_digest(_REQUEST))
    return {
        "apiVersion": API_VERSION,
        "kind": "CurationApproval",
        "metadata": {"name": PROBE, "namespace": namespace},
        "spec": spec.to_wire(),
    }
