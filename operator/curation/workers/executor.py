"""Executes modules in workers, one for each namespace that is busy: see `seam.Executor`."""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from curation.authz.register import PolicyRegister
from curation.execution.origin_credentials import OriginCredential
from curation.execution.seam import (
    Accepted,
    CallEnd,
    Ended,
    ExecutionObserver,
    ExecutionRequest,
    Lost,
    Sink,
    Supplies,
    Unsupplied,
    Waiting,
)
from curation.execution.unprepared import unprepared
from curation.guests.targets import TEMPLATE as GUEST_TEMPLATE
from curation.isolation.nursery import Nursery
from curation.isolation.spawn import ChildEnd
from curation.lifecycle.outcome import Failed, FailureClass, Report, Trigger
from curation.pods.seam import GuestPods
from curation.pods.times import LOST_SECONDS
from curation.wasm.module_errors import ModuleLoadError, ModuleUnreadable
from curation.wasm.store import LoadedModule, ModuleStore
from curation.workers.account import MemoryAccount
from curation.workers.admission import admitted, artifact_bytes
from curation.workers.cell import Cell, Settings, readable, sealed
from curation.workers.execution import Execution
from curation.workers.learning import learn
from curation.workers.need import Need
from curation.workers.pod_ledger import PodLedger
from curation.workers.targets import TEMPLATE

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 30.0
"""A worker that executes nothing for so long ends."""
_LOOK_SECONDS: Final = 1.0
_START_AGAIN_SECONDS: Final = 0.5
"""After a start that failed: the container of the workers may be back in this moment, and all wait for it."""
_SUPPLY_DELAYS = (0.5, 1.0, 2.0, 5.0, 15.0)
"""Seconds after which a run that goes on in its pod is tried to be prepared once more."""
_FIRST_DELAY: Final = 0.5
_LAST_DELAY: Final = 60.0
_END_SECONDS: Final = 0.25
"""For a worker to say how its executions have ended, after the time that they had to end."""


class WorkersExecutor(PodLedger):
    """For one event loop, in a thread that lives as long as the workers."""

    def __init__(
        self,
        store: ModuleStore,
        book: PolicyRegister,
        supplies: Supplies,
        settings: Settings,
        *,
        observer: ExecutionObserver | None = None,
        on_decision: Callable[[float], None] = lambda _: None,
        on_worker_end: Callable[[str, ChildEnd], None] = lambda *_: None,
        clock_offset: Callable[[], float] = lambda: 0.0,
        idle_seconds: float = IDLE_SECONDS,
        nursery: Nursery | None = None,
        account: MemoryAccount | None = None,
        pods: GuestPods | None = None,
    ) -> None:
        """`nursery` (None: its own) is whoever starts the workers; only its own is closed with this. `account` (None:
        without a bound) is what they may take of memory; what was taken of it before the start, under the id of the
        execution, need not be taken again, and is given back here. `pods` (None: there are none) has those made of the
        executions whose guests are to be in pods.

        `on_decision` hears how many seconds each decision of a gate took; `clock_offset` is `ServerClock.offset`.
        """
        super().__init__(observer, pods)
        self._store = store
        self._book = book
        self._supplies = supplies
        self._settings = settings
        self._on_decision = on_decision
        self._on_worker_end = on_worker_end
        self._clock_offset = clock_offset
        self._idle_seconds = idle_seconds
        self._nursery = nursery or Nursery(TEMPLATE)
        self._guest_nursery = self._nursery.beside(GUEST_TEMPLATE)
        self._nursery_is_own = nursery is None
        self._file = readable if self._nursery.apart else sealed
        self._account = account or MemoryAccount()
        self._account.end_idle = self._end_idle
        self._learning: asyncio.Task[None] | None = None
        self._cells: dict[str, Cell] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._deaths: dict[str, tuple[int, float]] = {}
        """By namespace: how often its workers have died in a row, and until when none is started."""
        self._cannot_start = False
        self._closed = False
        self._calmer = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._looking: asyncio.Task[None] | None = None
        book.subscribe(self._on_policies)
        if not self._account.known:
            self._learning = self._loop.create_task(learn(self._account, self._nursery), name="learn of memory")

    @property
    def workers(self) -> dict[str, int]:
        """The process id of each worker, by namespace."""
        return {namespace: cell.pid for namespace, cell in self._cells.items()}

    @property
    def guest_hosts(self) -> dict[str, int]:
        """The process id of each worker's guest host, by namespace."""
        return {namespace: cell.guest_host_pid for namespace, cell in self._cells.items()}

    # -- seam.Executor -----------------------------------------------------------------------------------------------

    def _begin(self, request: ExecutionRequest, sink: Sink, why: str | None) -> None:
        execution = self._executions[request.execution] = Execution(request, sink, self._on_end, self._loop.time())
        self.notify(request, lambda observer: observer.on_start(request))
        execution.say(Accepted())
        if self._closed and request.resumed:
            return  # the next one that leads resumes it
        if self._closed:
            execution.dead = "the operator stops"
        elif why is not None and request.trigger is not Trigger.CANCEL:
            execution.dead = why
        if execution.dead:
            self._loop.call_soon(execution.interrupted)
            return
        self._look_after()
        self._prepare_in_background(execution)

    def _prepare_in_background(self, execution: Execution) -> None:
        def prepared(task: asyncio.Task[None]) -> None:
            # Trap: a task that is cancelled before its first step does nothing at all.
            if task.cancelled() and execution.dead and execution.end is None:
                execution.interrupted()

        execution.preparing = self._loop.create_task(self._prepare(execution), name=f"prepare {execution.id}")
        execution.preparing.add_done_callback(prepared)

    def _kill(self, known: Execution, why: str) -> None:
        if known.request.trigger is Trigger.CANCEL or known.dead or known.end is not None:
            return
        known.dead = why
        if known.cell is not None:
            known.cell.stop(known, why)
        elif known.preparing is not None:
            known.preparing.cancel()

    def _forgotten(self, known: Execution) -> None:
        if known.cell is not None:
            known.cell.settled(known)
            self._account.look_again()

    async def drain(self, grace: float) -> None:
        """See `seam.Executor`. No process is left."""
        self._closed = True
        for task in filter(None, (self._looking, self._learning)):
            task.cancel()
        for execution in self._going():
            self._kill(execution, "the operator stops")
        for cell in list(self._cells.values()):
            cell.drain(grace)
        await asyncio.gather(self._until_ended(grace), self._until_parted(grace))
        for execution in self._going(in_pods=True):
            if execution.preparing is not None:
                execution.preparing.cancel()
        for execution in self._going():
            execution.dead = execution.dead or "the operator stops"
        await self._until_ended(_END_SECONDS)
        await asyncio.gather(*(cell.close() for cell in list(self._cells.values())))
        while self._ending:
            await asyncio.gather(*self._ending)
        for execution in self._going():
            execution.lost("the operator stops")
        await asyncio.gather(*filter(None, (self._looking, self._learning)), return_exceptions=True)
        if self._nursery_is_own:
            await self._nursery.close()

    # -- of one execution --------------------------------------------------------------------------------------------

    async def _prepare(self, execution: Execution) -> None:
        """Get what it needs, and hand it to its worker; of a run that goes on in its pod again and again."""
        request, tries = execution.request, 0
        last = self._loop.time() + request.module.limits.wall_seconds + LOST_SECONDS
        while True:
            try:
                credentials = await self._supplies.credentials(request) if request.credentials else ()
                await self._hand_over(execution, credentials)
                return
            except (ModuleLoadError, ModuleUnreadable, Unsupplied) as error:
                failed = unprepared(error)
                if not request.resumed or failed.absent or self._loop.time() > last:
                    execution.finish(failed)
                    return
            except Exception as error:
                log.exception("execution %s could not be prepared", execution.id, extra=request.log_fields)
                message = f"the operator failed to have the module executed: {type(error).__name__}: {error}"
                execution.finish(Failed(FailureClass.MODULE_UNAVAILABLE, message))
                return
            if not tries:  # the status of a run whose pod has come says nothing of what that waits for
                text = "execution %s goes on in its pod, which nobody hears until it is prepared here: %s"
                log.warning(text, execution.id, failed.message, extra=request.log_fields)
            execution.say(Waiting(f"its pod goes on, and this is tried again: {failed.message}"))
            await asyncio.sleep(_SUPPLY_DELAYS[min(tries, len(_SUPPLY_DELAYS) - 1)])
            tries += 1

    async def _hand_over(self, execution: Execution, credentials: tuple[OriginCredential, ...]) -> None:
        request, module = execution.request, await self._module(execution.request, execution.say)
        size = artifact_bytes(module)
        need = Need.of(request.module.limits, module.digest, size, in_pod=request.in_pod)
        if request.in_pod and self._pods is None:
            raise Unsupplied("Its guest is to run in a pod, and this operator makes none.")
        await admitted(
            self._account,
            execution.id,
            request.namespace,
            request.trigger,
            need,
            lambda why: execution.say(Waiting(why)),
        )
        if request.in_pod and self._pods is not None:
            self._pods.start(request, size)
        while True:
            cell, file = await self._worker(execution), None
            if not cell.has(module.digest):
                try:
                    file = await asyncio.to_thread(self._file, module.artifact.path)
                except FileNotFoundError:  # others have taken its place in the store
                    self._store.forget(module.digest)
                    module = await self._module(request, execution.say)
                    continue
            try:
                # Without a stay: what is told to this worker now it has.
                current = self._cells.get(request.namespace) is cell and not cell.gone
                if current and (file is not None or cell.has(module.digest)):
                    cell.set_clock(self._clock_offset())
                    execution.preparing, execution.cell = None, cell
                    cell.start(execution, module, file, credentials)
                    return
            finally:
                if file is not None:
                    os.close(file)

    async def _module(self, request: ExecutionRequest, say: Callable[[Waiting], None]) -> LoadedModule:
        if not self._store.has(request.module.digest):
            say(Waiting("the module is loaded"))
        return await self._store.load(request.module.digest, lambda: self._supplies.wasm(request), request.namespace)

    async def _worker(self, execution: Execution) -> Cell:
        """The worker of its namespace; waits while they die again and again, or none can be started."""
        namespace = execution.request.namespace
        while True:
            deaths, until = self._deaths.get(namespace, (0, 0.0))
            if (seconds := until - self._loop.time()) > 0:
                execution.say(Waiting("the worker of its namespace has died, and is started again in a while"))
                await asyncio.sleep(seconds)
                continue  # another one may have tried meanwhile
            try:
                cell = self._cell(namespace)
            except OSError as error:
                if not self._cannot_start:
                    log.warning("no worker can be started: %s", error, extra={"namespace": namespace})
                self._cannot_start = True
                execution.say(Waiting(f"no worker can be started: {error}"))
                self._deaths[namespace] = deaths, self._loop.time() + _START_AGAIN_SECONDS
            else:
                self._cannot_start = False
                return cell

    def _delay(self, namespace: str) -> None:
        """A worker of this namespace has died: the next one is started a while later."""
        deaths, _ = self._deaths.get(namespace, (0, 0.0))
        delay = min(_LAST_DELAY, _FIRST_DELAY * 2 ** min(deaths, 16))
        self._deaths[namespace] = deaths + 1, self._loop.time() + delay

    def _cell(self, namespace: str) -> Cell:
        """Its worker, which is started if there is none. Raises OSError."""
        cell = self._cells.get(namespace)
        if cell is None or cell.gone:
            hardening = replace(self._settings.hardening, data_bytes=self._account.data_bytes)
            settings = replace(self._settings, hardening=hardening)
            cell = self._cells[namespace] = Cell(
                namespace,
                self._book,
                self._nursery,
                self._guest_nursery,
                settings,
                on_call=self._on_call,
                on_end=self._worker_ended,
            )
            self._account.worker_started(namespace)
        return cell

    def _on_call(self, execution: Execution, call: CallEnd, decided: tuple[float, ...]) -> None:
        for seconds in decided:
            self._on_decision(seconds)
        self.notify(execution.request, lambda observer: observer.on_call(execution.request, call))

    def _on_end(self, execution: Execution, word: Ended | Lost) -> None:
        self._calmer.set()
        self._account.release(execution.id)
        for call in execution.lost_calls(self._loop.time()):
            self._on_call(execution, call, ())
        seconds = self._loop.time() - execution.started_at
        request = execution.request
        lost = Failed(FailureClass.INTERRUPTED, "")
        report = word.report if isinstance(word, Ended) else Report(request.trigger, request.run, lost)
        self.notify(request, lambda observer: observer.on_end(request, report, seconds))
        if isinstance(word, Ended) and execution.cell is not None:
            self._deaths.pop(request.namespace, None)

    # -- of the workers ----------------------------------------------------------------------------------------------

    def _on_policies(self, namespace: str | None) -> None:
        for cell in list(self._cells.values()) if namespace is None else filter(None, [self._cells.get(namespace)]):
            cell.sync()

    def renew_trust(self) -> None:
        """The files of authorities have changed."""
        for cell in self._cells.values():
            cell.renew_trust()

    def _worker_ended(self, cell: Cell, end: ChildEnd) -> None:
        if self._cells.get(cell.namespace) is cell:
            del self._cells[cell.namespace]
            self._close(cell)  # its guest host may be still to end
        self._account.worker_ended(cell.namespace)
        going = [each for each in cell.executions.values() if each.end is None]
        if not going:
            return
        cause = f"the {cell.ended_first} of its namespace has ended ({cell.fault or end})"
        if not end.orphaned:  # else those of all namespaces have died, and no later one waits longer for it
            self._delay(cell.namespace)
        lost = [each for each in going if not self._goes_on(each)]
        text, go_on = "%d executions are lost, %d go on in pods: %s", len(going) - len(lost)
        log.warning(text, len(lost), go_on, cause, extra={"namespace": cell.namespace})
        self._on_worker_end(cell.namespace, end)
        for execution in lost:
            why, over_limit = execution.pod_gone or (cause, end.limit is not None)
            execution.lost(why, over_limit=over_limit)
        for execution in going:
            if execution.end is None and not self._closed:
                self._resume(execution)

    def _resume(self, execution: Execution) -> None:
        for call in execution.lost_calls(self._loop.time()):
            self._on_call(execution, call, ())
        execution.resume()
        self._prepare_in_background(execution)

    def _look_after(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = self._loop.create_task(self._look(), name="look after workers")

    async def _look(self) -> None:
        """While there are workers."""
        while self._cells or self._going(in_pods=True):
            await asyncio.sleep(_LOOK_SECONDS)
            for cell in list(self._cells.values()):
                cell.set_clock(self._clock_offset())
                cell.look()
                if cell.idle_since is not None and self._loop.time() - cell.idle_since > self._idle_seconds:
                    self._end_idle(cell.namespace)

    def _end_idle(self, namespace: str) -> bool:
        """End the worker of this namespace, if it executes nothing; whether it does."""
        cell = self._cells.get(namespace)
        if cell is None or cell.idle_since is None:
            return False
        del self._cells[namespace]
        self._close(cell)
        return True

    def _close(self, cell: Cell) -> None:
        task = self._loop.create_task(cell.close(), name=f"end the worker of {cell.namespace}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _until_ended(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._going():
                    self._calmer.clear()
                    await self._calmer.wait()
