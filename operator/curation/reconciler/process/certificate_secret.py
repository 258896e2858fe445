"""The Secret in which the leader keeps a certificate that every replica shows: read, written a step further, watched.

What the steps are is `webhook_certificate`'s; when one is to be taken is that of whoever keeps it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from curation.cluster.answers import APIError, Document, Unreachable
from curation.cluster.meaning import Fate, meaning
from curation.cluster.resources import SECRETS
from curation.reconciler.process.webhook_certificate import Kept
from curation.reconciler.runtime.context import Context

log = logging.getLogger(__name__)


class CertificateSecret:
    """Of one server."""

    def __init__(self, context: Context, namespace: str, name: str, *, of: str, component: str) -> None:
        """`of` names the server in the log, such as "the webhook"; `component` is what brings the Secret."""
        self._context = context
        self._namespace = namespace
        self._name = name
        self._of = of
        self._component = component
        self.problem = ""
        """What keeps it from being kept; empty if nothing does."""

    async def run(self, check: Callable[[], Awaitable[None]], seconds: Callable[[], float]) -> None:
        """Check without end, after so many seconds each time."""
        while True:
            try:
                await check()
                self._report("")
            except (APIError, Unreachable, ValueError, KeyError, TypeError) as error:
                self._report(str(error))
            except Exception:
                log.exception("%s's certificate could not be checked", self._of)
            await asyncio.sleep(seconds())

    async def read(self) -> tuple[Document, Kept]:
        """As it is now. Raises APIError, Unreachable, and ValueError where it is not there."""
        secret = await self._context.api.read_secret(self._namespace, self._name)
        if secret is None:
            raise ValueError(f"there is no Secret {self._namespace}/{self._name}: apply {self._component}")
        return secret, Kept.read(secret.get("data") or {})

    async def write(self, secret: Document, wanted: Kept) -> None:
        """In place of what was read. Raises ValueError unless that has landed: the next check reads what is there."""
        answer = await self._context.writer.patch(
            SECRETS,
            self._namespace,
            self._name,
            resource_version=str(secret["metadata"]["resourceVersion"]),
            body={"data": wanted.data()},
            subresource=None,
        )
        if meaning(answer).fate is not Fate.LANDED:
            raise ValueError(f"the Secret {self._namespace}/{self._name} is not written: {answer}")
        log.info("%s's certificate has come a step further: %s", self._of, _step(wanted))

    def _report(self, problem: str) -> None:
        """Once for as long as it lasts."""
        if problem and problem != self.problem:
            log.error("%s's certificate is not kept: %s", self._of, problem)
        self.problem = problem


def _step(kept: Kept) -> str:
    if kept.coming is not None:
        return "the next authority is to be trusted beside the present one"
    if kept.going:
        return "the next certificate is shown, and the authority before it is still trusted"
    return "one authority is trusted"
