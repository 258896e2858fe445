"""The work of one process while it leads. Made and ended by `lifetime`; without a lease it leads from the start on."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from curation.cluster.answers import APIError, Unreachable
from curation.cluster.cache import Stored
from curation.cluster.lease import LeaseElector
from curation.cluster.resources import APPROVALS, JOBS, ResourceKind
from curation.pauses import Pauses
from curation.reconciler.jobs.resting import is_resting
from curation.reconciler.jobs.takeover import Takeover
from curation.reconciler.process.first_reads import load_modules
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.health import Health
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import Result, carry_out
from curation.reconciler.runtime.unreadable import Unreadables
from curation.reconciler.sources.modules import ModuleReconciler
from curation.reconciler.sources.policies import PolicyReconciler

log = logging.getLogger(__name__)

Reconcile = Callable[[Key], Awaitable[Result]]


class Leadership:
    """Starts the workers of the queue when this process begins to lead, and ends them when it has lost the lease."""

    def __init__(
        self,
        context: Context,
        reconcilers: Mapping[ResourceKind, Reconcile],
        modules: ModuleReconciler,
        takeover: Takeover,
        policies: PolicyReconciler,
        health: Health,
        *,
        has_finished: Callable[[str, str], bool],
        stopping: asyncio.Event,
        on_begin: Callable[[], None],
        on_loss: Callable[[], None],
        on_lost_history: Callable[[str], None],
        stop_work: Callable[[], Awaitable[object]],
    ) -> None:
        """`has_finished` says it of the job of a namespace and name; such jobs come last.

        `stopping`: the process is to end, so no work may begin. For `on_lost_history` see `LeaseElector`.
        """
        self._has_finished = has_finished
        self._context = context
        self._reconcilers = reconcilers
        self._modules = modules
        self._takeover = takeover
        self._policies = policies
        self._health = health
        self._stopping = stopping
        self._on_begin = on_begin
        self._on_loss = on_loss
        self._on_lost_history = on_lost_history
        self._stop_work = stop_work
        self._unreadables = Unreadables(context)
        self.workers: list[asyncio.Task[None]] = []
        """For whoever ends the process: they stop before the lease is released."""

    async def run(self) -> None:
        """Work whenever this process leads, until it is cancelled, is to stop, or has lost the lease."""
        context = self._context
        lease = context.settings.lease
        if lease is None:
            await self._begin()
            await self._stopping.wait()
            return
        elector = LeaseElector(
            context.api,
            context.writer,
            namespace=lease.namespace,
            name=lease.name,
            identity=context.settings.holder,
            clock=context.clock,
            lost_history=self._on_lost_history,
        )
        self._health.leading = lambda: elector.leading
        await elector.run(self._begin, self._lose)

    async def _begin(self) -> None:
        context = self._context
        # Any one namespace will do: resourceVersions rise across the objects of a kind.
        namespace = next(iter(context.settings.namespaces), None)
        self._takeover.leading_since = await context.api.revision(JOBS, namespace)
        # A run that is taken over is replaced in one write, which takes its module.
        await load_modules(self._modules)
        if self._stopping.is_set():
            return  # the lease is about to be released: no work may begin that would outlast it
        self._on_begin()
        finished = await self._wake_all()
        context.metrics.leader.set(1)
        log.info("working as %s", context.settings.holder, extra={"holder": context.settings.holder})
        self.workers.extend(
            asyncio.create_task(context.queue.work(self._reconcile, self._failed), name=f"worker {number}")
            for number in range(context.settings.workers)
        )
        self.workers.append(asyncio.create_task(self._wake_finished(finished), name="finished jobs"))

    async def _wake_all(self) -> list[Stored]:
        """Have each object worked on, but finished jobs; returns those. What comes from now on wakes itself."""
        context, finished, pauses = self._context, list[Stored](), Pauses()
        for kind, cache in context.caches.items():
            for stored in cache:
                if kind is JOBS and self._has_finished(stored.namespace, stored.name):
                    finished.append(stored)
                else:
                    context.wake(Key(kind, stored.namespace, stored.name))
                await pauses.pause()
        return finished

    async def _wake_finished(self, finished: list[Stored]) -> None:
        """Have those worked on of which something is left to do; behind the runs that wait to be taken over."""
        pauses = Pauses()
        for stored in finished:
            if not is_resting(self._context, stored):
                self._context.wake(Key(JOBS, stored.namespace, stored.name))
            await pauses.pause()

    async def _lose(self) -> None:
        self._context.metrics.leader.set(0)
        log.error("the lease was lost; stopping")
        self._on_loss()
        for worker in self.workers:
            worker.cancel()
        await self._stop_work()

    async def _reconcile(self, key: Key) -> None:
        context = self._context
        with context.metrics.reconcile.labels(kind=key.kind.kind).time():
            carry_out(context, key, await self._unreadables.check(key))
            if key.kind is JOBS and (held := self._policies.held(key)) is not None:
                carry_out(context, key, held)
                return
            if key.kind is not APPROVALS and context.cache(key).get(key.namespace, key.name) is None:
                context.refusals.forget(key)  # of an approval it may be the very making that is refused
            carry_out(context, key, await self._reconcilers[key.kind](key))

    def _failed(self, key: Key, error: Exception) -> None:
        if isinstance(error, APIError | Unreachable):
            log.warning("reconciling %s is tried again: %s", key, error, extra=key.log_fields)
            return
        self._context.metrics.reconcile_errors.labels(kind=key.kind.kind).inc()
        message = "reconciling %s failed and is tried again: %s"
        log.error(message, key, error, exc_info=error, extra=key.log_fields)
