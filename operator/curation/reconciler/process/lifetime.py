"""One operator process: put together, run, and stopped as `stopping` says."""

import asyncio
import logging
import math
import signal
import time
from collections.abc import Callable, Collection, Coroutine, Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import kopf

from curation import loop_errors
from curation.authz.register import PolicyRegister
from curation.checking.checkers import Checkers
from curation.cluster.api import ClusterAPI
from curation.cluster.cache import Listener, Stored
from curation.cluster.clock import ServerClock
from curation.cluster.connection import Connection, connect
from curation.cluster.credentials import ConfigurationError
from curation.cluster.events import EventRecorder
from curation.cluster.request_labels import Asked
from curation.cluster.resources import JOBS, ResourceKind
from curation.cluster.sweep import sweeps
from curation.cluster.watching import Watching
from curation.cluster.writer import Writer
from curation.egress.reach import Reach
from curation.egress.trust import Trust
from curation.execution.decision_log import DecisionLog
from curation.execution.seam import Supplies
from curation.guests.targets import TEMPLATE as GUEST_TEMPLATE
from curation.isolation.nursery import Nursery
from curation.isolation.orphans import Orphans
from curation.notifying.notifier import Notifier
from curation.oci.puller import Puller
from curation.reconciler.jobs import cleanup, observation
from curation.reconciler.jobs.resting import is_resting
from curation.reconciler.process.assembly import Work, assemble
from curation.reconciler.process.first_reads import compile_shipped, read_all
from curation.reconciler.process.guest_pods import GuestsInPods
from curation.reconciler.process.handlers import kopf_registry, kopf_settings, taking
from curation.reconciler.process.leadership import Leadership
from curation.reconciler.process.stopping import (
    EVENTS_SECONDS,
    GRACE_SECONDS,
    NOTICES_SECONDS,
    STOP_SECONDS,
    WORK,
    StopPlan,
    steps,
)
from curation.reconciler.process.webhook import CertificateFiles, Webhook
from curation.reconciler.process.webhook_keeping import WebhookKeeping
from curation.reconciler.process.webhook_reach import WebhookReach
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.file_watch import FileWatch, RenewedFiles
from curation.reconciler.runtime.health import Health
from curation.reconciler.runtime.health_server import HealthServer
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.key import Key, namespace_of
from curation.reconciler.runtime.metrics import Metrics
from curation.reconciler.runtime.queue import WorkQueue
from curation.reconciler.runtime.settings import Settings
from curation.reconciler.runtime.verdicts import Verdicts
from curation.wasm.store import ModuleStore
from curation.workers.account import MemoryAccount
from curation.workers.cell import Settings as CellSettings
from curation.workers.executor import WorkersExecutor
from curation.workers.targets import TEMPLATE

log = logging.getLogger(__name__)

NAMESPACES_AT_WORK: Final = 12
"""So many namespaces share the workers of the queue if each has work for all of them. 4 of 48 for one: with 16, jobs of
a namespace beside one that floods took five times as long, since an API server of two cores had 20 writes at once; with
4 they took twice as long, and the API server and this process were as busy as before."""
ALONE_AT_WORK: Final = 3
"""A namespace that is alone may have a third of them: a burst of jobs is a quarter faster so."""


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
        self._plan = StopPlan(steps(settings.drain_seconds), self.patience)
        self._guests: GuestsInPods | None = None
        self._on_trust: Callable[[], None] = lambda: None
        self.metrics = Metrics()
        self.health = Health()

    def failed_in_background(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The loop's exception handler: what nobody awaits is logged, but for what kopf leaves behind when it ends.

        Its scans and watches fail for want of the connection then, and it awaits them no more.
        """
        if self._kopf_ends and _is_of_kopf(context):
            log.debug("kopf has left this behind: %s", context.get("message"))
            return
        loop_errors.report(loop, context)

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
        try:
            await self._work()
        finally:
            await self._plan.run()
        return self._exit

    async def _work(self) -> None:
        """Put the parts together, each with its end, and serve."""
        plan = self._plan
        settings, metrics, health = self._settings, self.metrics, self.health

        def observe(asked: Asked, code: str, seconds: float) -> None:
            metrics.request(asked, code, seconds)
            health.request(asked, code, seconds)

        clock = ServerClock()
        asyncio.get_running_loop().set_exception_handler(self.failed_in_background)
        self._own_signals()
        connection = await connect(observer=observe, clock=clock, cuts=True)
        plan.add("connection", connection.close)
        api, writer = ClusterAPI(connection), Writer(connection)
        events = EventRecorder(api, writer, identity=settings.identity, clock=clock)
        events.start()
        plan.add("events", lambda: events.close(timeout=self.patience(EVENTS_SECONDS)))
        notifier = self._notifier()
        if notifier is not None:
            notifier.start()
            plan.add("notices", lambda: notifier.close(timeout=self.patience(NOTICES_SECONDS)))
        book = PolicyRegister()
        queue: WorkQueue[Key] = WorkQueue(
            metrics,
            namespace_of=namespace_of,
            of_one=max(1, settings.workers // NAMESPACES_AT_WORK),
            alone=max(1, settings.workers // ALONE_AT_WORK),
        )
        plan.add("queue", queue.close)
        nursery = Nursery(TEMPLATE, supervisor=settings.workers_socket)
        try:
            nursery.warm()
            nursery.beside(GUEST_TEMPLATE).warm()
        except OSError as error:  # its container may be still to come: that is tried again for each of them
            log.warning("no worker or checker can be started yet: %s", error)
        plan.add("checkers", nursery.close)
        checkers = Checkers(start=nursery.start)
        plan.add("checkers", checkers.close)
        verdicts = Verdicts(book, clock, queue, checkers.authorize)
        plan.add("checkers", verdicts.close)
        memory = MemoryAccount(settings.workers_memory, known=settings.workers_memory is not None)
        context = Context(settings, api, writer, clock, metrics, events, book, verdicts, queue, notifier, memory)
        store = ModuleStore(self._module_cache, nursery.start)
        plan.add("module store", store.close)
        # Before any other: what the operator ships waits for nobody's module.
        shipped = asyncio.create_task(compile_shipped(store), name="compile what is shipped")
        plan.add("shipped modules", lambda: _ended(shipped))
        puller = Puller(
            folder=store.folder,
            required=settings.require_signature,
            allow=settings.allow_cidrs,
            deny=settings.deny_cidrs,
            ca_bundle=settings.ca_bundle,
        )
        plan.add("registries", puller.close)
        # Observations and Cancels have threads of their own, so that a burst of runs cannot starve them.
        threads = settings.max_concurrent_runs + observation.OBSERVATIONS_AT_ONCE + cleanup.CANCELS_AT_ONCE
        reach = Reach.of(settings.allow_cidrs, settings.deny_cidrs, settings.ca_bundle)
        trust = Trust(settings.ca_bundle)

        if settings.guests is not None:
            assert settings.lease is not None, "cli.run sees to it"
            leads = lambda: self._working and self._leads()  # noqa: E731 - a word
            self._guests = GuestsInPods(context, connection, settings.guests, settings.lease, leads)
        guests = self._guests

        def executor_of(supplies: Supplies) -> WorkersExecutor:
            return WorkersExecutor(
                store,
                book,
                supplies,
                CellSettings(reach, lambda: trust.content, threads),
                observer=DecisionLog(metrics, allowed=settings.log_all_calls),
                on_decision=metrics.policy_decision.observe,
                on_worker_end=metrics.worker_ended,
                clock_offset=lambda: clock.offset,
                nursery=nursery,
                account=memory,
                pods=guests.keeper if guests is not None else None,
            )

        files = self._watched_files(connection, trust, notifier)
        watching_files = asyncio.create_task(files.run(), name="files")
        plan.add("files", lambda: _ended(watching_files))
        server = HealthServer(health, metrics.registry)
        plan.add("http server", server.close)
        await server.start(settings.http_host, settings.http_port)
        log.info("serving /healthz, /readyz and /metrics on %s", server.url, extra={"url": server.url})

        work = assemble(context, executor_of, store, puller, health, checkers)
        context.memory.on_limit = lambda: work.modules.limits_changed() if self._working else None
        self._on_trust = work.executor.renew_trust
        if guests is not None:
            guests.attach(work.executor, work.memories)
            plan.add("webhook", guests.close)  # the other door to the outside
            guests.start(nursery, work.executor)
        plan.add("executor", lambda: work.executor.drain(GRACE_SECONDS))
        plan.add("checkers", work.policies.judging.close)
        await self._serve_webhook(context, files)
        for kind, cache in context.caches.items():
            cache.listen(self._while_working(_waker(context, kind, work.index)))

        plan.add("executions", work.runs.close)
        plan.add("executions", work.jobs.close)
        plan.add("cancels", work.jobs.cleanup.close)
        plan.add("loads of modules", work.modules.close)
        if guests is not None:
            plan.add("loads of modules", guests.stop_keeping)
        if await self._unless_stopped(read_all(context, work.modules, work.policies)):
            await self._serve(connection, context, work)

    async def _serve_webhook(self, context: Context, files: FileWatch) -> None:
        """Serve the webhook, if that is asked for. Raises OSError and ConfigurationError."""
        https = self._settings.https
        if https is None:
            return
        webhook = Webhook(context, lambda: self.health.synced)
        self._plan.add("webhook", webhook.close)
        webhook.listen(https.host, https.port)
        if https.certificate is not None and https.key is not None:
            certificate = CertificateFiles(https.certificate, https.key, webhook.show)
            await certificate.first()
            files.add("https-certificate", RenewedFiles(certificate.files, certificate.renew))
            self._may_be_renewed("https-certificate")
        else:
            assert self._settings.lease is not None, "cli.operator sees to it"
            keeping = WebhookKeeping(context, self._settings.lease.namespace, webhook.show, self._leads)
            kept = asyncio.create_task(keeping.run(), name="webhook's certificate")
            self._plan.add("webhook", lambda: _ended(kept))
        looking = asyncio.create_task(WebhookReach(context, lambda: self._working).run(), name="webhook's reach")
        reaping = asyncio.create_task(Orphans().run(), name="orphans")
        self._plan.add("webhook", lambda: _ended(looking, reaping))
        webhook.start()

    def _notifier(self) -> Notifier | None:
        """Raises ConfigurationError for a key that cannot be used."""
        receiver, notices = self._settings.notify, self.metrics.notices
        if receiver is None:
            return None
        try:
            return Notifier(receiver, lambda notice, result: notices.labels(notice.type.value, result).inc())
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"--notify-key-file {receiver.key_file}: {error}") from error

    def _watched_files(self, connection: Connection, trust: Trust, notifier: Notifier | None) -> FileWatch:
        """Every file that this process was given at its start."""
        credentials = connection.credentials

        async def renew_trust() -> None:
            await trust.renew()  # raises for files that are no use; then nobody is told
            self._on_trust()

        sources = {
            "ca-bundle": RenewedFiles(trust.files, renew_trust),
            "cluster-access": RenewedFiles(credentials.files, credentials.renew_from_files),
        }
        if notifier is not None and self._settings.notify is not None:
            key_file = self._settings.notify.key_file

            async def renew_key() -> None:
                notifier.renew()

            sources["notify-key"] = RenewedFiles(lambda: [key_file, *trust.files()], renew_key)
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
        if self._guests is not None:
            self._guests.begin()

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
    ) -> None:
        plan = self._plan
        # Tasks that are to outlive kopf's own shutdown are started before it: it cancels all later ones.
        leadership = Leadership(
            context,
            work.reconcilers,
            work.modules,
            work.takeover,
            work.policies,
            self.health,
            has_finished=work.index.has_finished,
            stopping=self._stop,
            on_begin=self._begin,
            on_loss=lambda: self.stop(Exit.LEASE_LOST),
            on_lost_history=self.lost,
            stop_work=lambda: plan.take(WORK),
        )
        lead = asyncio.create_task(leadership.run(), name="lead")
        plan.add("workers", lambda: _ended(*leadership.workers))
        all_sweeps = sweeps(context.api, context.caches, self._settings.namespaces, self.lost)

        def relisted(resource: str) -> None:
            for sweep in all_sweeps:
                if sweep.kind.plural == resource:
                    sweep.wake()

        watching = Watching(alive=self.health.seen, relisted=relisted, lost=self.lost, take=taking(context.caches))
        for kind, cache in context.caches.items():
            cache.listen(_noting(watching, kind))
        tasks = [
            lead,
            *(asyncio.create_task(sweep.run(), name="sweep") for sweep in all_sweeps),
        ]
        plan.add("lease", lambda: _ended(*tasks))
        kopf_stop = asyncio.Event()
        ours = _NotKopfs()
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
        watcher = asyncio.create_task(kopf.run_tasks(roots, ignored=ours), name="kopf")
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        plan.add("workers", lambda: _ended(stop))

        async def end_kopf() -> None:
            kopf_stop.set()
            self._kopf_ends = True
            await asyncio.wait({watcher})

        async def end_what_kopf_has_left() -> None:
            # It would go on without the connection, and fail into the log.
            await _ended(watcher)
            await _ended(*(task for task in asyncio.all_tasks() if task not in ours))

        plan.add("kopf", end_kopf)
        plan.add("what kopf has left", end_what_kopf_has_left)
        done, _ = await asyncio.wait({stop, watcher, lead}, return_when=asyncio.FIRST_COMPLETED)
        if watcher in done:
            watcher.result()
            raise RuntimeError("kopf has stopped by itself")
        if lead in done:
            lead.result()  # raises if this process could not begin to work
        if self._exit is Exit.STOPPED:
            work.runs.closing = True
            plan.add("drain", work.runs.drained)

    def _own_signals(self) -> None:
        """A stop begins with our work; kopf goes last."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, self.stop)
            except (NotImplementedError, RuntimeError, ValueError):
                return  # not in the main thread: whoever embeds this calls stop()


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class _NotKopfs(Collection[asyncio.Task[Any]]):
    """The tasks of the loop, at any time, that kopf's end is to leave alone: all that run no code of its.

    Trap: kopf waits up to 5 s for all tasks that are not named to it, the one that waits for kopf among them.
    """

    def __contains__(self, task: object) -> bool:
        return not (isinstance(task, asyncio.Task) and _runs_code_of_kopf(task.get_coro()))

    def __iter__(self) -> Iterator[asyncio.Task[Any]]:
        return (task for task in asyncio.all_tasks() if task in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _is_of_kopf(context: dict[str, Any]) -> bool:
    found = context.get("future") or context.get("task")
    return _runs_code_of_kopf(found.get_coro() if isinstance(found, asyncio.Task) else context.get("asyncgen"))


def _runs_code_of_kopf(running: object) -> bool:
    code = getattr(running, "cr_code", None) or getattr(running, "ag_code", None)
    return code is not None and Path(code.co_filename).is_relative_to(Path(kopf.__file__).parent)


def _noting(watching: Watching, kind: ResourceKind) -> Listener:
    def note(_: Stored | None, new: Stored | None) -> None:
        if new is not None:
            watching.saw(kind.plural, new.resource_version)

    return note


def _waker(context: Context, kind: ResourceKind, index: JobIndex) -> Callable[[Stored | None, Stored | None], None]:
    def wake(old: Stored | None, new: Stored | None) -> None:
        known = new or old
        assert known is not None
        found_finished = old is None and kind is JOBS and index.has_finished(known.namespace, known.name)
        if found_finished and is_resting(context, known):
            return
        context.wake(Key(kind, known.namespace, known.name))

    return wake
