"""One operator process: put together, run, stopped in good order."""

import asyncio
import logging
import math
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from enum import IntEnum
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import kopf

from curation.authz.book import PolicyBook
from curation.authz.gate import Gate
from curation.cluster.answers import APIError, Unreachable
from curation.cluster.api import ClusterAPI
from curation.cluster.cache import Listener, Stored
from curation.cluster.clock import ServerClock
from curation.cluster.connection import Connection, connect
from curation.cluster.credentials import ConfigurationError
from curation.cluster.events import EventRecorder
from curation.cluster.lease import LeaseElector
from curation.cluster.requests import Asked
from curation.cluster.resources import APPROVALS, CLUSTER_POLICIES, JOBS, MODULES, POLICIES, ResourceKind
from curation.cluster.sweep import sweeps
from curation.cluster.watching import Watching
from curation.cluster.writer import Writer
from curation.egress.client import EgressClient
from curation.egress.floor import AddressFloor
from curation.execution.in_process import InProcessExecutor
from curation.reconciler import cleanup, observation
from curation.reconciler.approval_metrics import ApprovalMetrics
from curation.reconciler.approval_status import ApprovalReconciler
from curation.reconciler.approvals import Approvals
from curation.reconciler.context import Context, Key
from curation.reconciler.credentials import Credentials
from curation.reconciler.grants import Grants
from curation.reconciler.handlers import kopf_registry, kopf_settings
from curation.reconciler.health import Health
from curation.reconciler.health_server import HealthServer
from curation.reconciler.in_use import InUse
from curation.reconciler.job_index import JobIndex
from curation.reconciler.jobs import JobReconciler
from curation.reconciler.metrics import IdlePolicies, MeasuredGate, Metrics, WatchAge
from curation.reconciler.modules import LOADS_AT_ONCE, ModuleReconciler
from curation.reconciler.policies import PolicyReconciler
from curation.reconciler.queue import WorkQueue
from curation.reconciler.renewal import FileWatch, Source
from curation.reconciler.runs import Runs
from curation.reconciler.settings import Settings
from curation.reconciler.takeover import Takeover
from curation.reconciler.unreadable import Unreadables
from curation.wasm.store import ModuleLoadError, ModuleStore, builtin_names

log = logging.getLogger(__name__)

Reconcile = Callable[[Key], Awaitable[None]]

# Of a call on the wire when its run is stopped. With the time to drain it is most of the 2 s that a failover may take.
GRACE_SECONDS: Final = 0.25
# From SIGTERM on, all waiting that another program can draw out: an API server that does not answer, a slow session
# service. The whole stop may take 5 s. The drain, the grace and the lease are first; what is only tidy gets the rest.
STOP_SECONDS: Final = 3.5
# Before the first job is decided, so that it finds its module. What takes longer is loaded beside the work.
FIRST_LOADS_SECONDS: Final = 10.0


class Exit(IntEnum):
    """Exit codes of `curation-operator run`."""

    STOPPED = 0
    ERROR = 1
    USAGE = 2
    LEASE_LOST = 3


class Process:
    """Everything of one process. `run` returns when it was stopped or has lost the lease."""

    def __init__(
        self,
        settings: Settings,
        module_cache: Path | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._module_cache = module_cache
        self._kopf_ends = False
        self._monotonic = monotonic
        self._stop = asyncio.Event()
        self._stop_by = math.inf
        self._exit = Exit.STOPPED
        self._working = False
        self.metrics = Metrics()
        self.health = Health()

    def failed_in_background(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The loop's exception handler: what nobody awaits is logged, but for what kopf leaves behind when it ends.

        Its scans and watches fail for want of the connection then, and it awaits them no more.
        """
        if self._kopf_ends and _is_of_kopf(context):
            log.debug("kopf has left this behind: %s", context.get("message"))
            return
        loop.default_exception_handler(context)

    def stop(self, code: Exit = Exit.STOPPED) -> None:
        """Ask it to stop."""
        if not self._stop.is_set():
            self._exit = code
            self._stop_by = self._monotonic() + STOP_SECONDS
            self._stop.set()

    def lost(self, sentence: str) -> None:
        """End, since this process cannot go on from what it knows; the sentence says why."""
        if not self._stop.is_set():
            log.critical("%s", sentence)
        self.stop(Exit.ERROR)

    async def run(self) -> Exit:
        """Run until stopped. Raises ConfigurationError, APIError or Unreachable if it cannot start."""
        settings, metrics, health = self._settings, self.metrics, self.health

        def observe(asked: Asked, code: str, seconds: float) -> None:
            metrics.request(asked, code, seconds)
            health.request(asked, code, seconds)

        clock = ServerClock()
        asyncio.get_running_loop().set_exception_handler(self.failed_in_background)
        self._own_signals()
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(await connect(observer=observe, clock=clock, cuts=True))
            api, writer = ClusterAPI(connection), Writer(connection)
            events = EventRecorder(api, writer, identity=settings.identity, clock=clock)
            events.start()

            async def close_events() -> None:
                await events.close(timeout=self.patience(2.0))

            stack.push_async_callback(close_events)
            book = PolicyBook()
            gate = Gate(book, clock.now)
            queue: WorkQueue[Key] = WorkQueue(metrics)
            stack.callback(queue.close)
            context = Context(settings, api, writer, clock, metrics, events, book, gate, queue)
            store = ModuleStore(self._module_cache)
            stack.push_async_callback(store.close)
            # Before any other: what the operator ships waits for nobody's module.
            shipped = asyncio.create_task(_compile_shipped(store), name="compile what is shipped")
            stack.push_async_callback(_ended, shipped)
            egress = EgressClient(AddressFloor(settings.allow_cidrs, settings.deny_cidrs), ca_bundle=settings.ca_bundle)
            stack.push_async_callback(egress.close)
            # Observations and Cancels have threads of their own, so that a burst of runs cannot starve them.
            threads = settings.max_concurrent_runs + observation.AT_ONCE + cleanup.AT_ONCE
            executor = InProcessExecutor(
                store, MeasuredGate(gate, metrics), egress, observer=metrics, max_concurrent=threads
            )
            files = self._watched_files(connection, egress)
            watching_files = asyncio.create_task(files.run(), name="files")
            stack.callback(watching_files.cancel)
            server = HealthServer(health, metrics.registry)
            stack.push_async_callback(server.close)
            await server.start(settings.http_host, settings.http_port)
            log.info("serving /healthz, /readyz and /metrics on %s", server.url, extra={"url": server.url})

            index = JobIndex(metrics)
            in_use = InUse(context, index)
            modules = ModuleReconciler(context, store, in_use)
            runs = Runs(context, executor, modules, Credentials(api))
            takeover = Takeover(context, modules)
            grants = Grants(context, index)
            approvals = Approvals(context, grants)
            policies = PolicyReconciler(context, in_use)
            jobs = JobReconciler(context, runs, modules, approvals, takeover)
            reconcilers: dict[ResourceKind, Reconcile] = {
                JOBS: jobs.reconcile,
                MODULES: modules.reconcile,
                POLICIES: policies.reconcile,
                CLUSTER_POLICIES: policies.reconcile,
                APPROVALS: ApprovalReconciler(context, approvals, grants).reconcile,
            }
            context.caches[POLICIES].listen(policies.seen)
            context.caches[CLUSTER_POLICIES].listen(policies.seen)
            context.caches[APPROVALS].listen(grants.seen)
            context.caches[APPROVALS].listen(approvals.seen)
            context.caches[APPROVALS].listen(ApprovalMetrics(metrics, clock.now).seen)
            context.caches[JOBS].listen(runs.seen)
            context.caches[JOBS].listen(index.seen)
            metrics.registry.register(WatchAge(health.ages))
            metrics.registry.register(IdlePolicies(policies.idle))
            for kind, cache in context.caches.items():
                cache.listen(self._while_working(_waker(queue, kind)))

            async def stop_work() -> None:
                await runs.close()
                await jobs.cleanup.close()
                await modules.close()
                # Before kopf's end, which cancels the tasks of executions: their guests would go on in their threads.
                await executor.close(grace=GRACE_SECONDS)

            stack.push_async_callback(executor.close, grace=GRACE_SECONDS)
            if await self._unless_stopped(self._learn(context, modules)):
                await self._serve(connection, context, reconcilers, modules, takeover, runs, stop_work)
        return self._exit

    def _watched_files(self, connection: Connection, egress: EgressClient) -> FileWatch:
        """Every file that this process was told of at its start."""
        trust, credentials = egress.trust, connection.credentials
        sources = {
            "ca-bundle": Source(trust.files, trust.renew),
            "cluster-access": Source(credentials.files, credentials.renew_from_files),
        }
        for source in sources:
            self.metrics.file_refused.labels(source=source).set(0)
            for result in ("loaded", "refused"):
                self.metrics.file_renewals.labels(source=source, result=result)
        return FileWatch(sources, self.metrics.file_renewed)

    def _while_working(self, listener: Listener) -> Listener:
        """A replica that waits for the lease has no workers: what it queued would only grow."""
        return lambda old, new: listener(old, new) if self._working else None

    def patience(self, seconds: float) -> float:
        """How long the end may wait for what is only tidy: not at all when another process is about to lead."""
        if self._exit is Exit.LEASE_LOST:
            return 0.0
        return max(0.0, min(seconds, self._stop_by - self._monotonic()))

    async def _learn(self, context: Context, modules: ModuleReconciler) -> None:
        await self._read_first(context)
        await self._load_modules(modules)

    async def _unless_stopped(self, work: Coroutine[None, None, None]) -> bool:
        """Do this unless asked to stop before it is done."""
        doing, stop = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({doing, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                return False
            doing.result()
            return True
        finally:
            for task in (doing, stop):
                task.cancel()
            await asyncio.gather(doing, stop, return_exceptions=True)

    async def _read_first(self, context: Context) -> None:
        """Read all policies, approvals and modules before the first job is decided: else it would be denied."""
        namespaces: tuple[str | None, ...] = self._settings.namespaces or (None,)
        if not self._settings.cluster_policies:
            log.warning("cluster policies do not count in this installation: --without-cluster-policies")
            del context.caches[CLUSTER_POLICIES]
        for kind in (POLICIES, CLUSTER_POLICIES, APPROVALS, MODULES):
            if kind not in context.caches:
                continue
            places = namespaces if kind.namespaced else (None,)
            try:
                for namespace in places:
                    async for obj in context.api.each(kind, namespace):
                        context.caches[kind].put(obj)
            except APIError as error:
                if error.code == 404:
                    raise ConfigurationError(
                        f"the API server has no {kind.plural}.{kind.group}; install the CRDs first: "
                        "curation-operator crds | kubectl apply --server-side -f -"
                    ) from error
                if kind is not CLUSTER_POLICIES or error.code != 403 or not self._settings.namespaces:
                    raise
                # Never by itself: what an administrator forbids for the whole cluster would be allowed here.
                raise ConfigurationError(
                    f"cluster policies may not be read ({error}). Grant list and watch on clustercurationpolicies, or "
                    "start with --without-cluster-policies: then what they forbid is not forbidden here"
                ) from error

    async def _load_modules(self, modules: ModuleReconciler) -> None:
        """Load those that are new, or another than the one that was loaded; for FIRST_LOADS_SECONDS at the most.

        What is not compiled yet is compiled beside the work, since a module can make that long.
        """
        unknown: dict[str, list[Key]] = {}
        for key in modules.to_load():
            unknown.setdefault(key.namespace, []).append(key)
        # One of each namespace after the other: whoever has many does not hold up the others.
        in_turn = (key for keys in zip_longest(*unknown.values()) for key in keys if key is not None)

        async def load() -> None:
            for key in in_turn:
                try:
                    await modules.load(key)
                except Exception:
                    log.exception("module %s/%s could not be loaded yet", key.namespace, key.name)

        try:
            async with asyncio.timeout(FIRST_LOADS_SECONDS):
                await asyncio.gather(*(load() for _ in range(LOADS_AT_ONCE)))
        except TimeoutError:
            log.info("modules are still being loaded; their jobs wait for them, the others go on")

    async def _serve(
        self,
        connection: Connection,
        context: Context,
        reconcilers: dict[ResourceKind, Reconcile],
        modules: ModuleReconciler,
        takeover: Takeover,
        runs: Runs,
        stop_work: Callable[[], Awaitable[None]],
    ) -> None:
        # Tasks that are to outlive kopf's own shutdown are started before it: it cancels all later ones.
        workers: list[asyncio.Task[None]] = []
        lead = asyncio.create_task(self._lead(context, reconcilers, modules, takeover, workers, stop_work), name="lead")
        all_sweeps = sweeps(context.api, context.caches, self._settings.namespaces, self.lost)

        def relisted(resource: str) -> None:
            for sweep in all_sweeps:
                if sweep.kind.plural == resource:
                    sweep.wake()

        watching = Watching(alive=self.health.seen, relisted=relisted, lost=self.lost)
        for kind, cache in context.caches.items():
            cache.listen(_noting(watching, kind))
        tasks = [
            lead,
            *(asyncio.create_task(sweep.run(), name="sweep") for sweep in all_sweeps),
        ]
        kopf_stop = asyncio.Event()
        before = asyncio.all_tasks()
        roots = await kopf.spawn_tasks(
            registry=kopf_registry(connection, watching, context.caches, self.health, self._settings.namespaces),
            settings=kopf_settings(),
            # kopf would make one of the user's name, and the user of an image has none. Its type is not public.
            identity=context.settings.holder,  # type: ignore[arg-type]
            standalone=True,
            clusterwide=not self._settings.namespaces,
            namespaces=list(self._settings.namespaces),
            stop_flag=kopf_stop,
        )
        # Trap: spawn_tasks installs kopf's signal handlers, which would cancel our tasks before our own work stops.
        self._own_signals()
        watcher = asyncio.create_task(kopf.run_tasks(roots, ignored=before), name="kopf")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            done, _ = await asyncio.wait({stop, watcher, lead}, return_when=asyncio.FIRST_COMPLETED)
            if watcher in done:
                watcher.result()
                raise RuntimeError("kopf has stopped by itself")
            if lead in done:
                lead.result()  # raises if this process could not begin to work
            if self._exit is Exit.STOPPED:
                runs.closing = True
                # Runs in flight get a moment to end and be written; what is left is the next holder's.
                drained = asyncio.create_task(runs.drained())
                await asyncio.wait({drained}, timeout=self._settings.drain_seconds)
                drained.cancel()
        finally:
            # The work stops before the lease is released, which the end of `lead` does.
            for stopped in ([*workers, stop], tasks):
                for task in stopped:
                    task.cancel()
                await asyncio.gather(*stopped, return_exceptions=True)
                await stop_work()
            kopf_stop.set()
            self._kopf_ends = True
            await asyncio.wait({watcher}, timeout=self.patience(3.0))
            if not watcher.done():
                log.warning("kopf has not ended in time: what is left of it is cancelled")
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            # What kopf had no time to end would go on without the connection, and fail into the log.
            left = asyncio.all_tasks() - before - {asyncio.current_task()}
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=self.patience(1.0))

    async def _lead(
        self,
        context: Context,
        reconcilers: dict[ResourceKind, Reconcile],
        modules: ModuleReconciler,
        takeover: Takeover,
        workers: list[asyncio.Task[None]],
        stop_work: Callable[[], Awaitable[None]],
    ) -> None:
        """Work while this process leads; without a lease, from now on."""

        unreadables = Unreadables(context)

        async def reconcile(key: Key) -> None:
            with context.metrics.reconcile.labels(kind=key.kind.kind).time():
                await unreadables.look(key)
                if key.kind is not APPROVALS and context.cache(key).get(key.namespace, key.name) is None:
                    context.refusals.forget(key)  # of an approval it may be the very making that is refused
                await reconcilers[key.kind](key)

        def failed(key: Key, error: Exception) -> None:
            if isinstance(error, APIError | Unreachable):
                log.warning("reconciling %s is tried again: %s", key, error, extra=key.log_fields)
                return
            context.metrics.reconcile_errors.labels(kind=key.kind.kind).inc()
            message = "reconciling %s failed and is tried again: %s"
            log.error(message, key, error, exc_info=error, extra=key.log_fields)

        async def started() -> None:
            # One namespace tells for all: resourceVersions rise across the objects of a kind.
            namespace = next(iter(self._settings.namespaces), None)
            takeover.leading_since = await context.api.revision(JOBS, namespace)
            # A run that is taken over is replaced in one write, which takes its module.
            await self._load_modules(modules)
            if self._stop.is_set():
                return  # the lease is about to be released: no work may begin that would outlast it
            self._working = True
            for kind, cache in context.caches.items():
                for stored in cache:
                    context.queue.add(Key(kind, stored.namespace, stored.name))
            context.metrics.leader.set(1)
            log.info("working as %s", context.settings.holder, extra={"holder": context.settings.holder})
            workers.extend(
                asyncio.create_task(context.queue.work(reconcile, failed), name=f"worker {number}")
                for number in range(context.settings.workers)
            )

        async def lost() -> None:
            context.metrics.leader.set(0)
            log.error("the lease was lost; stopping")
            self.stop(Exit.LEASE_LOST)
            for worker in workers:
                worker.cancel()
            await stop_work()

        lease = context.settings.lease
        if lease is None:
            await started()
            await self._stop.wait()
            return
        elector = LeaseElector(
            context.api,
            context.writer,
            namespace=lease.namespace,
            name=lease.name,
            identity=context.settings.holder,
            clock=context.clock,
            lost_history=self.lost,
        )
        self.health.leading = lambda: elector.leading
        await elector.run(started, lost)

    def _own_signals(self) -> None:
        """A stop begins with our work; kopf goes last."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, self.stop)
            except (NotImplementedError, RuntimeError, ValueError):
                return  # not in the main thread: whoever embeds this calls stop()


async def _compile_shipped(store: ModuleStore) -> None:
    for name in builtin_names():
        try:
            await store.load_builtin(name)
        except (ModuleLoadError, OSError) as error:
            log.warning("the module %s, which is shipped, is not compiled yet: %s", name, error)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _is_of_kopf(context: dict[str, Any]) -> bool:
    found = context.get("future") or context.get("task")
    running = found.get_coro() if isinstance(found, asyncio.Task) else context.get("asyncgen")
    code = getattr(running, "cr_code", None) or getattr(running, "ag_code", None)
    return code is not None and Path(code.co_filename).is_relative_to(Path(kopf.__file__).parent)


def _noting(watching: Watching, kind: ResourceKind) -> Listener:
    def note(_: Stored | None, new: Stored | None) -> None:
        if new is not None:
            watching.saw(kind.plural, new.resource_version)

    return note


def _waker(queue: WorkQueue[Key], kind: ResourceKind) -> Callable[[Stored | None, Stored | None], None]:
    def wake(old: Stored | None, new: Stored | None) -> None:
        known = new or old
        assert known is not None
        queue.add(Key(kind, known.namespace, known.name))

    return wake
