"""One operator process: put together, run, stopped in good order."""

import asyncio
import logging
import math
import signal
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import kopf

from curation.authz.book import PolicyBook
from curation.authz.gate import Gate
from curation.checking.checkers import Checkers
from curation.cluster.api import ClusterAPI
from curation.cluster.cache import Listener, Stored
from curation.cluster.clock import ServerClock
from curation.cluster.connection import Connection, connect
from curation.cluster.events import EventRecorder
from curation.cluster.request_labels import Asked
from curation.cluster.resources import ResourceKind
from curation.cluster.sweep import sweeps
from curation.cluster.watching import Watching
from curation.cluster.writer import Writer
from curation.egress.client import EgressClient
from curation.egress.floor import AddressFloor
from curation.execution.in_process import InProcessExecutor
from curation.execution.seam import Supplies
from curation.oci.puller import Puller
from curation.reconciler.jobs import cleanup, observation
from curation.reconciler.process.assembly import Work, assemble
from curation.reconciler.process.first_reads import compile_shipped, read_all
from curation.reconciler.process.handlers import kopf_registry, kopf_settings
from curation.reconciler.process.leadership import Leadership
from curation.reconciler.process.webhook import CertificateFiles, Webhook
from curation.reconciler.process.webhook_keeping import WebhookKeeping
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.file_watch import FileWatch, RenewedFiles
from curation.reconciler.runtime.health import Health
from curation.reconciler.runtime.health_server import HealthServer
from curation.reconciler.runtime.key import Key, namespace_of
from curation.reconciler.runtime.metrics import MeasuredGate, Metrics
from curation.reconciler.runtime.queue import WorkQueue
from curation.reconciler.runtime.settings import Settings
from curation.wasm.store import ModuleStore

log = logging.getLogger(__name__)

# Of a call on the wire when its run is stopped. With the time to drain it is most of the 2 s that a failover may take.
GRACE_SECONDS: Final = 0.25
# From SIGTERM on, all waiting that another program can draw out: an API server that does not answer, a slow session
# service. The whole stop may take 5 s. The drain, the grace and the lease are first; what is only tidy gets the rest.
STOP_SECONDS: Final = 3.5


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
            queue: WorkQueue[Key] = WorkQueue(metrics, namespace_of=namespace_of)
            stack.callback(queue.close)
            context = Context(settings, api, writer, clock, metrics, events, book, gate, queue)
            store = ModuleStore(self._module_cache)
            stack.push_async_callback(store.close)
            # Before any other: what the operator ships waits for nobody's module.
            shipped = asyncio.create_task(compile_shipped(store), name="compile what is shipped")
            stack.push_async_callback(_ended, shipped)
            puller = Puller(
                folder=store.folder,
                required=settings.require_signature,
                allow=settings.allow_cidrs,
                deny=settings.deny_cidrs,
                ca_bundle=settings.ca_bundle,
            )
            stack.push_async_callback(puller.close)
            egress = EgressClient(AddressFloor(settings.allow_cidrs, settings.deny_cidrs), ca_bundle=settings.ca_bundle)
            stack.push_async_callback(egress.close)
            # Observations and Cancels have threads of their own, so that a burst of runs cannot starve them.
            threads = settings.max_concurrent_runs + observation.OBSERVATIONS_AT_ONCE + cleanup.CANCELS_AT_ONCE

            def executor_of(supplies: Supplies) -> InProcessExecutor:
                measured = MeasuredGate(gate, metrics)
                return InProcessExecutor(store, measured, egress, supplies, observer=metrics, max_concurrent=threads)

            files = self._watched_files(connection, egress)
            watching_files = asyncio.create_task(files.run(), name="files")
            stack.callback(watching_files.cancel)
            server = HealthServer(health, metrics.registry)
            stack.push_async_callback(server.close)
            await server.start(settings.http_host, settings.http_port)
            log.info("serving /healthz, /readyz and /metrics on %s", server.url, extra={"url": server.url})

            checkers = Checkers()
            stack.push_async_callback(checkers.close)
            work = assemble(context, executor_of, store, puller, health, checkers)
            stack.push_async_callback(work.policies.judging.close)
            await self._serve_webhook(context, stack, files)
            for kind, cache in context.caches.items():
                cache.listen(self._while_working(_waker(queue, kind)))

            async def stop_work() -> None:
                work.jobs.close()
                work.runs.close()
                await work.jobs.cleanup.close()
                await work.modules.close()
                # Before kopf's end, which cancels the tasks of executions: their guests would go on in their threads.
                await work.executor.drain(GRACE_SECONDS)

            stack.push_async_callback(work.executor.drain, GRACE_SECONDS)
            if await self._unless_stopped(read_all(context, work.modules, work.policies)):
                await self._serve(connection, context, work, stop_work)
        return self._exit

    async def _serve_webhook(self, context: Context, stack: AsyncExitStack, files: FileWatch) -> None:
        """Serve the webhook, if that is asked for. Raises OSError and ConfigurationError."""
        https = self._settings.https
        if https is None:
            return
        webhook = Webhook(context, lambda: self.health.synced)
        stack.push_async_callback(webhook.close)
        webhook.listen(https.host, https.port)
        if https.certificate is not None and https.key is not None:
            certificate = CertificateFiles(https.certificate, https.key, webhook.show)
            await certificate.first()
            files.add("https-certificate", RenewedFiles(certificate.files, certificate.renew))
            self._may_be_renewed("https-certificate")
        else:
            assert self._settings.lease is not None, "cli.operator sees to it"
            keeping = WebhookKeeping(context, self._settings.lease.namespace, webhook.show, self._leads)
            stack.push_async_callback(_ended, asyncio.create_task(keeping.run(), name="webhook's certificate"))
        webhook.start()

    def _watched_files(self, connection: Connection, egress: EgressClient) -> FileWatch:
        """Every file that this process was given at its start."""
        trust, credentials = egress.trust, connection.credentials
        sources = {
            "ca-bundle": RenewedFiles(trust.files, trust.renew),
            "cluster-access": RenewedFiles(credentials.files, credentials.renew_from_files),
        }
        for source in sources:
            self._may_be_renewed(source)
        return FileWatch(sources, self.metrics.file_renewed)

    def _leads(self) -> bool:
        return self.health.leading is not None and self.health.leading()

    def _may_be_renewed(self, source: str) -> None:
        self.metrics.file_refused.labels(source=source).set(0)
        for result in ("loaded", "refused"):
            self.metrics.file_renewals.labels(source=source, result=result)

    def _while_working(self, listener: Listener) -> Listener:
        """A replica that waits for the lease has no workers: what it queued would only grow."""
        return lambda old, new: listener(old, new) if self._working else None

    def _begin(self) -> None:
        self._working = True

    def patience(self, seconds: float) -> float:
        """How long the end may wait for what is only tidy: not at all when another process is about to lead."""
        if self._exit is Exit.LEASE_LOST:
            return 0.0
        return max(0.0, min(seconds, self._stop_by - self._monotonic()))

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

    async def _serve(
        self,
        connection: Connection,
        context: Context,
        work: Work,
        stop_work: Callable[[], Awaitable[None]],
    ) -> None:
        # Tasks that are to outlive kopf's own shutdown are started before it: it cancels all later ones.
        leadership = Leadership(
            context,
            work.reconcilers,
            work.modules,
            work.takeover,
            work.policies,
            self.health,
            stopping=self._stop,
            on_begin=self._begin,
            on_loss=lambda: self.stop(Exit.LEASE_LOST),
            on_lost_history=self.lost,
            stop_work=stop_work,
        )
        lead = asyncio.create_task(leadership.run(), name="lead")
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
                work.runs.closing = True
                # Runs in flight get a moment to end and be written; what is left is the next holder's.
                drained = asyncio.create_task(work.runs.drained())
                await asyncio.wait({drained}, timeout=self._settings.drain_seconds)
                drained.cancel()
        finally:
            # The work stops before the lease is released, which the end of `lead` does.
            for stopped in ([*leadership.workers, stop], tasks):
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

    def _own_signals(self) -> None:
        """A stop begins with our work; kopf goes last."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, self.stop)
            except (NotImplementedError, RuntimeError, ValueError):
                return  # not in the main thread: whoever embeds this calls stop()


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
