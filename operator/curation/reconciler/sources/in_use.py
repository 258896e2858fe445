"""The finalizer `curation.dev/in-use` of modules and policies: what a session needs to be cancelled is not lost first.

`kubectl delete -k` and `kubectl delete ns` delete jobs, modules and policies together. A deleted module or policy
stays, and counts for Cancel only, while a job of the namespace may own a session, for at most 10 minutes.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from curation.api.names import IN_USE_FINALIZER
from curation.api.schema import ObjectMeta
from curation.cluster.answers import Refused
from curation.cluster.cache import Stored
from curation.cluster.resources import JOBS
from curation.lifecycle.deadlines import HELD_AT_MOST
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.job_index import JobIndex, may_own_session
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import NOTHING, Result
from curation.reconciler.runtime.writes import write_finalizers

_CHECK_AGAIN_SECONDS: Final = 1.0

TERMINATING: Final = "Terminating"
"""Reason of the Ready condition of what is being deleted and still counts."""

ShowStatus = Callable[[str], Awaitable[Result]]


class InUse:
    """Adds the finalizer once, and removes it from a deleted object in time."""

    def __init__(self, context: Context, jobs: JobIndex) -> None:
        self._context = context
        self._jobs = jobs
        self.accepts: Callable[[Key, Refused], bool] = lambda _key, _refused: False
        """Whether a refusal to write the finalizer is final: see `write_own_status`."""

    async def advance(
        self, key: Key, meta: ObjectMeta, *, of_use: bool = True, show: ShowStatus | None = None
    ) -> Result | None:
        """See to the finalizer; None if something else may be done: no write was made, and the object is not deleted.

        An object that is not `of_use` (a policy that was never valid) goes at once: no Cancel needs it. Of one that
        stays, `show` puts into its status why, and until when.
        """
        context = self._context
        if meta.finalizers_cut:  # a write would remove those of others
            return NOTHING if meta.deletion_timestamp is not None else None
        held = IN_USE_FINALIZER in meta.finalizers
        if meta.deletion_timestamp is None:
            if held:
                return None
            return await self._write(key, meta, [*meta.finalizers, IN_USE_FINALIZER])
        if held:
            expired = context.clock.now() >= meta.deletion_timestamp + HELD_AT_MOST
            if expired or not of_use or not await self._needed(key.namespace):
                others = [name for name in meta.finalizers if name != IN_USE_FINALIZER]
                return await self._write(key, meta, others)
            shown = NOTHING
            if show is not None:
                until = f"{meta.deletion_timestamp + HELD_AT_MOST:%Y-%m-%d %H:%M:%SZ}"
                why = "It is being deleted, and counts for Cancel alone while a job may own a session"
                shown = await show(f"{why}: until {until} at the latest.")
            return shown + Result(after=_CHECK_AGAIN_SECONDS)
        return NOTHING

    async def let_go(self, key: Key, stored: Stored) -> Result:
        """Of an object that cannot be read: add nothing, but let its deletion through in time."""
        if not stored.deleted:
            return NOTHING
        return await self.advance(key, ObjectMeta.model_validate(stored.document()["metadata"])) or NOTHING

    async def _needed(self, namespace: str) -> bool:
        """Whether a job of the namespace (empty: of any) may own a session. Raises `APIError` or `Unreachable`.

        That none does is read from the API server: a process that has just started has not seen all jobs yet, and what
        is gone does not come back.
        """
        if self._jobs.may_own_sessions(namespace):
            return True
        for place in (namespace,) if namespace else self._context.settings.namespaces or (None,):
            async for job in self._context.api.each(JOBS, place):
                if may_own_session(job):
                    return True
        return False

    async def _write(self, key: Key, meta: ObjectMeta, finalizers: list[str]) -> Result:
        outcome = await write_finalizers(self._context, key, meta, finalizers, accepts=partial(self.accepts, key))
        return outcome.result
