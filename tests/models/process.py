"""One operator process, step by step: the real reconciler of jobs with all that it decides and writes with.

Its cache, its client and its writer, its rule for takeovers, its clean-up and the way it settles completions are the
operator's own. The model has what surrounds them: the API server behind the connection (`connection`), the executor
(`executor`), the queue's time (`queue`), a module that is always there, and policies that allow or do not.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from curation.api.approval import ApprovalDecision
from curation.api.job import CurationJob
from curation.api.names import EventReason, Phase
from curation.authz.book import PolicyBook
from curation.cluster.answers import APIError, Unreachable
from curation.cluster.api import ClusterAPI
from curation.cluster.cache import Stored
from curation.cluster.resources import JOBS
from curation.cluster.writer import Writer
from curation.execution.seam import ModuleBuild
from curation.lifecycle.outcome import Report
from curation.reconciler.approvals.asking import ApprovalFacts
from curation.reconciler.jobs.completion import Completion, Later, Pending, Settled
from curation.reconciler.jobs.memory import JobMemory, Memories
from curation.reconciler.jobs.orders import Order
from curation.reconciler.jobs.reconciler import JobReconciler
from curation.reconciler.jobs.runs import Runs
from curation.reconciler.jobs.takeover import Takeover
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.metrics import Metrics
from curation.reconciler.runtime.result import NOTHING, Result, carry_out
from curation.reconciler.runtime.settings import Settings
from curation.wasm.limits import Limits
from curation.workers.need import Need
from tests.models.cleaning import cleanup
from tests.models.connection import ModelConnection
from tests.models.documents import DIGEST, KEY, NAME, NAMESPACE, WALL, Document, parse, placed
from tests.models.executions import Behaviour, Step, Task
from tests.models.executor import AdversarialExecutor
from tests.models.queue import ModelQueue
from tests.models.sessions import State

if TYPE_CHECKING:
    from tests.models.world import World

METRICS = Metrics()


@dataclass
class Process:
    """Starts with a list, as a real one does, and then gets what is delivered to it."""

    world: "World"
    holder: str
    position: int = 0
    """How many events of the watch were delivered."""
    received: list[Document] = field(default_factory=list)
    """Every version, for the checker."""
    deleted: set[str] = field(default_factory=set)
    tasks: dict[str, Task] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    """Those that were settled, or are."""
    settling: Report | None = None
    """What the present write is about, if it is the outcome of an execution."""
    _spawned: int = 0

    def __post_init__(self) -> None:
        began = self.world.now
        self.clock: Any = SimpleNamespace(
            now=lambda: self.world.now, monotonic=lambda: (self.world.now - began).total_seconds()
        )
        self.queue = ModelQueue(lambda: self.world.now)
        self.context = _context(self)
        self.modules = _modules()
        self.memories = Memories()
        self.executor = AdversarialExecutor(self)
        self.runs = Runs(self.context, self.memories, self.executor, self.modules)
        self.takeover = Takeover(self.context, self.memories, self.executor, self.modules, self.clock.monotonic)
        self.jobs = self._reconciler()
        self.cache = self.context.caches[JOBS]
        self.cache.listen(self._on_change)
        self.cache.listen(self.runs.on_change)
        self.takeover.leading_since = self.world.api.revision
        self.position = len(self.world.api.events)
        self._policies = self._heard = (self.world.allowed, self.world.refused)
        found = self.world.api.get(NAME).obj
        if found is not None:
            self.cache.put(placed(found))

    def _reconciler(self) -> JobReconciler:
        made = JobReconciler(
            self.context, self.memories, self.runs, self.modules, _approvals(self.world), self.takeover
        )
        made.cleanup = cleanup(self)
        completion = Completion(self.context, pause=lambda seconds: Step("checking"), sample=lambda: 0.5)
        made._completion = _Witnessed(self, completion)
        # Whatever is due, the model observes when it likes.
        made._observation._rounds = SimpleNamespace(plan=lambda *_: None, drop=lambda _: None)  # type: ignore[assignment]
        return made

    # -- what it knows -----------------------------------------------------------------------------------------------

    @property
    def known(self) -> Document | None:
        """The newest version that it knows."""
        stored = self.cache.get(NAMESPACE, NAME)
        return self.world.api.versions[stored.resource_version] if stored is not None else None

    def deliver(self, index: int | None = None) -> bool:
        """Get the next event of the watch; with an index, get that event again, or out of order."""
        events = self.world.api.events
        if index is None:
            if self.position >= len(events):
                return False
            index, self.position = self.position, self.position + 1
        event = events[index]
        if event.type == "DELETED":
            self.deleted.add(event.obj["metadata"]["uid"])
            self.cache.delete(placed(event.obj))
        else:
            self.cache.put(placed(event.obj))
        return True

    def _on_change(self, old: Stored | None, new: Stored | None) -> None:
        """What a cache's listeners do: note it for the checker, and have it worked on."""
        if new is not None:
            self.received.append(self.world.api.versions[new.resource_version])
        elif old is not None:
            self.deleted.add(old.uid)
        self.queue.add(KEY)

    def job(self) -> CurationJob | None:
        """The newest known object."""
        known = self.known
        return None if known is None else parse(known)

    def memory(self, uid: str) -> JobMemory:
        """What it remembers of an object."""
        return self.memories.of(KEY, uid)

    # -- its tasks ---------------------------------------------------------------------------------------------------

    def spawn(self, kind: str, task: Task) -> str:
        """Have a task; it has not begun. Returns its name."""
        self._spawned += 1
        name = f"{kind} {self._spawned}"
        self.tasks[name] = task
        return name

    def step(self, name: str) -> str:
        """Go on with a task up to its next `yield`; returns where it is."""
        try:
            return next(self.tasks[name])
        except StopIteration:
            del self.tasks[name]
            return ""

    def until(self, kind: str, label: str = "") -> None:
        """Go on with the first task of this kind until it is at `label`, or to its end."""
        name = next(task for task in self.tasks if task.startswith(f"{kind} "))
        while name in self.tasks and self.step(name) != label:
            pass

    def until_launched(self) -> None:
        """Reconcile until a run is launched."""
        for _ in range(4):
            if self.busy("submit"):
                return
            self.reconcile()
        raise AssertionError(f"no run: {self.job()}")

    def until_ended(self) -> None:
        """Launch a run that creates its session and makes its other call, and let it end; nothing is settled yet."""
        self.until_launched()
        for _ in Behaviour().calls:
            self.until("submit", "on the wire")
            self.world.carry_out()
        self.until("submit")

    def busy(self, kind: str) -> bool:
        """Whether there is a task of this kind."""
        return any(task.startswith(f"{kind} ") for task in self.tasks)

    def work(self) -> bool:
        """Get everything, start everything that is due, end everything that can be ended."""
        worked = False
        while self.deliver():
            worked = True
        worked = self.start_reconcile() or worked
        if self._session_ended():
            self.start_observation()
        for name in list(self.tasks):
            while name in self.tasks:
                if self.step(name) == "on the wire":
                    break
                worked = True
        return worked

    def _session_ended(self) -> bool:
        job = self.job()
        session = job.status.session if job is not None and job.status.phase is Phase.RUNNING else None
        return session is not None and self.world.allowed and self.world.service.states[session.id] is not State.LIVE

    # -- what it is made to do ---------------------------------------------------------------------------------------

    def start_reconcile(self) -> bool:
        """Have a worker take the job, if it is to be worked on: one at a time, as the work queue has it."""
        self._policies = (self.world.allowed, self.world.refused)
        if self._policies != self._heard:
            self._heard = self._policies
            self.queue.add(KEY)  # as approvals and policies do for the jobs that wait for them
        if self.busy("reconcile") or not self.queue.take():
            return False
        self.spawn("reconcile", self._work())
        return True

    def reconcile(self, label: str = "") -> None:
        """Work on the job, if that is called for, until it is at `label`, or to its end."""
        if self.start_reconcile() or self.busy("reconcile"):
            self.until("reconcile", label)

    def settle(self) -> None:
        """Work on the job until nothing that has ended is left to be settled, however long that takes."""
        while self.runs.pending(KEY):
            self.reconcile()
            if self.queue.failures:
                self.world.pass_time(1)

    def _work(self) -> Task:
        yield from self._reconcile().__await__()

    async def _reconcile(self) -> None:
        failures = self.queue.failures
        try:
            carry_out(self.context, KEY, await self.jobs.reconcile(KEY))
            if self.queue.failures == failures:
                self.queue.failures = 0
        except (APIError, Unreachable):
            self.queue.add_rate_limited(KEY)

    def start_observation(self) -> bool:
        """Observe the session of a Running job."""
        before = self._spawned
        self.jobs._observation._start(KEY)
        return self._spawned > before

    def complete(self, report: Report) -> None:
        """A completion comes again, whoever was told of it before."""
        found = Order(KEY, report.run, report.trigger, labels={}, module="module", digest=DIGEST, input={}, config={})
        self.memory(report.run.uid).inbox.append(Pending(report, found))
        self.queue.add(KEY)


class _Witnessed(Completion):
    """The real completion; what it does is noted for the checker."""

    def __init__(self, process: Process, real: Completion) -> None:
        self._process = process
        self._real = real

    async def settle(self, key: Key, pending: Pending, freed_for: str) -> Settled | Later:
        """See `Completion.settle`."""
        process, report = self._process, pending.report
        process.settling = report
        process.reports.append(report)
        try:
            settled = await self._real.settle(key, pending, freed_for)
        finally:
            process.settling = None
        if isinstance(settled, Settled):
            process.world.checker.ruling(report, settled.verdict.ruling)
        return settled


def _context(process: Process) -> Context:
    connection: Any = ModelConnection(process)
    queue: Any = process.queue
    events: Any = SimpleNamespace(record=_recorder(process))
    gate: Any = SimpleNamespace(authorize=lambda *_: SimpleNamespace(allowed=process.world.allowed))
    writer = Writer(connection)
    writer._puts_from[JOBS] = math.inf  # the model's API server takes patches
    return Context(
        Settings(identity="model", holder=process.holder),
        ClusterAPI(connection),
        writer,
        process.clock,
        METRICS,
        events,
        PolicyBook(),
        gate,
        queue,
    )


def _recorder(process: Process) -> Callable[..., None]:
    def record(_about: object, reason: str, _message: str, *, log_fields: Any, **_: object) -> None:
        if reason == EventReason.CLEANUP_FAILED:
            process.world.checker.given_up.add(log_fields["run_id"])  # it may leave a session

    return record


def _modules() -> Any:
    """One module, which is always there."""
    state = SimpleNamespace(digest=DIGEST, message="", unusable=False, spec=None)
    built = ModuleBuild("module", DIGEST), SimpleNamespace(credentials=())
    return SimpleNamespace(
        state=lambda namespace, name: state,
        fresh=lambda namespace, name: True,
        build=lambda namespace, name, digest: built,
        takes=lambda namespace, name, digest, in_pod=False: Need.of(Limits(), digest, 0, in_pod=in_pod),
        wall_seconds=lambda namespace, name: WALL.total_seconds(),
        forget=lambda key: None,
    )


def _approvals(world: "World") -> Any:
    """What people decide. That an approval is asked for is not the model's matter."""

    def facts(_key: Key, job: CurationJob) -> ApprovalFacts:
        if job.status.phase is not Phase.AWAITING_APPROVAL:
            return ApprovalFacts()
        decision = ApprovalDecision.DENIED if world.refused else ApprovalDecision.PENDING
        return ApprovalFacts(allowed=world.allowed, decision=decision)

    async def nothing(*_: object) -> Result:
        return NOTHING

    waiters = SimpleNamespace(free=lambda key: None)
    return SimpleNamespace(
        facts=facts, note=lambda *_: None, advance=nothing, ask=nothing, forget=lambda key: None, waiters=waiters
    )
