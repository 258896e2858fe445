"""One operator process: what the reconciler does around `decide`.

Its cache, its rule for takeovers, its clean-up and the way it settles completions are the real ones. The
guards that are the driver's to keep can be removed, to show that each of them is needed.
"""

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from curation.api.approval import ApprovalDecision
from curation.api.job import CurationJob
from curation.api.names import Phase, Reason, Trigger
from curation.cluster.cache import Cache, Stored
from curation.cluster.resources import JOBS
from curation.execution.seam import ModuleBuild
from curation.lifecycle.decide import decide
from curation.lifecycle.fence import objection
from curation.lifecycle.outcome import Report
from curation.lifecycle.step import Facts, Step
from curation.reconciler.jobs import orders
from curation.reconciler.jobs.attempt import Attempt
from curation.reconciler.jobs.completion import Pending
from curation.reconciler.jobs.memory import JobMemory, Memories
from curation.reconciler.jobs.orders import Order
from curation.reconciler.jobs.runs import Runs
from curation.reconciler.jobs.takeover import Takeover
from curation.reconciler.runtime.key import Key
from tests.models.apiserver import Reply
from tests.models.cleaning import cleanup
from tests.models.documents import DIGEST, NAME, WALL, Document, finalized, parse, unfinalized
from tests.models.executions import Behaviour, Task, run_key
from tests.models.executor import AdversarialExecutor
from tests.models.sessions import State
from tests.models.settlement import KEY, settle
from tests.oracles.versions import revision

if TYPE_CHECKING:
    from tests.models.world import World


@dataclass
class Process:
    """Starts with a list, as a real one does, and then gets what is delivered to it."""

    world: "World"
    holder: str
    known: Document | None = None
    position: int = 0
    """How many events of the watch were delivered."""
    received: list[Document] = field(default_factory=list)
    """Every version, for the checker."""
    deleted: set[str] = field(default_factory=set)
    tasks: dict[str, Task] = field(default_factory=dict)
    claimed: dict[str, int] = field(default_factory=dict)
    """The version that the claim of each run made."""
    reports: list[Report] = field(default_factory=list)
    _spawned: int = 0
    _settling: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.cache = Cache(JOBS)
        self.memories = Memories()
        self.executor = AdversarialExecutor(self)
        self.runs = _runs(self)
        self.takeover = _takeover(self)
        self.cleanup = cleanup(self)
        self.takeover.leading_since = self.world.api.revision
        self.position = len(self.world.api.events)
        self.refresh()

    # -- what it knows -----------------------------------------------------------------------------------------------

    def deliver(self, index: int | None = None) -> bool:
        """Get the next event of the watch; with an index, get that event again, or out of order."""
        events = self.world.api.events
        if index is None:
            if self.position >= len(events):
                return False
            index, self.position = self.position, self.position + 1
        event = events[index]
        if event.type == "DELETED":
            self.forget(event.obj["metadata"]["uid"])
        else:
            self.receive(event.obj)
        return True

    def receive(self, obj: Document) -> None:
        """Take in a version, and ask the fence of every execution."""
        if not self.cache.put(obj) and self.world.guards.forward_only:
            return
        self.known = obj
        self.received.append(obj)
        version = _stored(obj)
        for attempt in self._attempts():
            if not self.world.guards.death:
                self._revive(attempt)
            attempt.on_version(version)

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self.deleted.add(uid)
        self.cache.forget("", NAME, uid)
        if self.known is not None and self.known["metadata"]["uid"] == uid:
            self.known = None
        for attempt in self._attempts():
            if attempt.order.run.uid == uid:
                attempt.on_version(None)

    def refresh(self) -> None:
        """Read the object from the API server."""
        obj = self.world.api.get(NAME).obj
        if obj is not None:
            self.receive(obj)
        elif self.known is not None:
            self.forget(self.known["metadata"]["uid"])

    def take(self, reply: Reply | None) -> bool:
        """Learn from the answer to a write; whatever it is but a 200, read the object again."""
        if reply is None or reply.code != 200:
            self.refresh()
            return False
        metadata = reply.written["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers"):
            self.forget(metadata["uid"])
        else:
            self.receive(reply.written)
        return True

    def job(self) -> CurationJob | None:
        """The newest known object."""
        return None if self.known is None else parse(self.known)

    def memory(self, uid: str) -> JobMemory:
        """What it remembers of an object."""
        return self.memories.of(KEY, uid)

    def _attempts(self) -> list[Attempt]:
        return [attempt for memory in self.memories.at(KEY) for attempt in memory.attempts]

    def _revive(self, attempt: Attempt) -> None:
        attempt.dead = ""
        execution = self.executor.executions.get(attempt.execution)
        if execution is not None:
            execution.stopped = False

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
            self.start_reconcile()
            self.until("reconcile")
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
        worked = self.start_cleaning() or worked
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

    # -- executions --------------------------------------------------------------------------------------------------

    def start_observation(self) -> bool:
        """Observe the session of a Running job."""
        job = self.job()
        if job is None or job.status.run is None or job.status.session is None or self.busy("observe"):
            return False
        run = run_key(job, job.status.run)
        if objection(job, run, Trigger.OBSERVE) is not None:
            return False
        self.runs.launch(self.runs.begin(orders.observe(KEY, job, job.status.run)))
        return True

    def woken(self, key: Key) -> None:
        """What has ended is to be settled, each in a task of its own."""
        for pending in self.runs.pending(key):
            if pending.execution not in self._settling:
                self._settling.add(pending.execution)
                self.reports.append(pending.report)
                self.spawn("settle", settle(self, pending))

    def complete(self, report: Report) -> None:
        """A completion comes again, whoever was told of it before."""
        found = Order(KEY, report.run, report.trigger, labels={}, module="module", digest=DIGEST, input={}, config={})
        pending = Pending(report, found)
        self.memory(report.run.uid).inbox.append(pending)
        self.spawn("settle", settle(self, pending))

    def settled(self, pending: Pending) -> None:
        """A completion is over."""
        self._settling.discard(pending.execution)
        self.runs.settled(KEY, pending)

    # -- reconcile ---------------------------------------------------------------------------------------------------

    def start_reconcile(self) -> bool:
        """Decide, if there is something to do: one at a time for a job, as the work queue has it."""
        job = self.job()
        if job is None or self.busy("reconcile"):
            return False
        step = decide(job, self._facts(job))
        if not step.freeze and not self._changes(job, step):
            return False
        if step.freeze and self.world.read(job) is None and not self._changes(job, self._missing(job)):
            return False
        self.spawn("reconcile", self._reconcile())
        return True

    def _changes(self, job: CurationJob, step: Step) -> bool:
        return step.status != job.status or step.add_finalizer or step.remove_finalizer or step.delete

    def _facts(self, job: CurationJob) -> Facts:
        self.takeover.see(KEY, job)
        return Facts(
            now=self.world.now,
            holder=self.holder,
            module_digest=DIGEST,
            liveness=self.takeover.liveness(KEY, job),
            request_allowed=self.world.allowed,
            approval=ApprovalDecision.DENIED if self.world.refused else ApprovalDecision.PENDING,
            cleaned=self.cleanup.cleaned(KEY),
        )

    def _missing(self, job: CurationJob) -> Step:
        return decide(job, replace(self._facts(job), frozen_problem="ConfigMap work does not exist."))

    def _reconcile(self) -> Task:
        job, base = self.job(), self.known
        if job is None or base is None:
            return
        step = decide(job, self._facts(job))
        if step.freeze:
            yield "about to read"
            frozen = self.world.read(job)
            step = self._missing(job) if frozen is None else decide(job, replace(self._facts(job), frozen=frozen))
        yield "decided"
        if step.add_finalizer or step.remove_finalizer:
            reply = self.world.write(base, finalized(base) if step.add_finalizer else unfinalized(base))
            yield "written"
            self.take(reply)
        elif step.delete:
            metadata = base["metadata"]
            self.world.api.delete(NAME, uid=metadata["uid"], resource_version=metadata["resourceVersion"])
        elif step.status != job.status:
            yield from self._write_step(job, base, step)

    def _write_step(self, job: CurationJob, base: Document, step: Step) -> Task:
        run, early = step.launch, not self.world.guards.claim_before_launch
        attempt = self.runs.begin(orders.submit(KEY, job, run, step.status)) if run is not None else None
        if run is not None and attempt is not None and early:
            self.world.checker.claim(run, base)
            self._launch(attempt, base)
            yield "launched"
        reply = self.world.write_status(base, step.status, claim=run)
        yield "written"
        memory = self.memory(job.metadata.uid)
        if not self.take(reply):
            if attempt is not None and not early:
                self.runs.discard(attempt)
            return
        assert reply is not None
        if job.status.approval is not None and step.status.reason == Reason.APPROVED:
            memory.freed_for = job.status.approval.request_digest
        if attempt is not None and not early:
            self._launch(attempt, reply.written)

    def _launch(self, attempt: Attempt, claimed: Document) -> None:
        self.claimed[attempt.order.run.id] = revision(claimed)
        self.runs.launch(attempt)

    # -- clean-up ----------------------------------------------------------------------------------------------------

    def start_cleaning(self) -> bool:
        """Clean what is due; returns whether anything came of it."""
        job = self.job()
        if job is None:
            self.memories.forget(KEY, None)
            return False
        if self.busy("reconcile"):
            return False
        before = len(self.tasks), self.cleanup.cleaned(KEY)
        self.cleanup.advance(KEY, job)
        return before != (len(self.tasks), self.cleanup.cleaned(KEY))


def _stored(obj: Document) -> Stored:
    """A version as the cache keeps them."""
    cache = Cache(JOBS)
    cache.put(obj)
    (stored,) = cache
    return stored


def _runs(process: "Process") -> Runs:
    """The real ones. What they would wake is settled as soon as it can be."""
    context: Any = SimpleNamespace(
        settings=SimpleNamespace(max_concurrent_runs=1), queue=SimpleNamespace(add=process.woken)
    )
    built = ModuleBuild("module", DIGEST), SimpleNamespace(credentials=())
    modules: Any = SimpleNamespace(build=lambda namespace, module, digest: built)
    return Runs(context, process.memories, process.executor, modules)


def _takeover(process: "Process") -> Takeover:
    """The real rule, in the time of the model."""
    world = process.world
    context: Any = SimpleNamespace(settings=SimpleNamespace(holder=process.holder))
    modules: Any = SimpleNamespace(wall_seconds=lambda namespace, module: WALL.total_seconds())
    began = world.now
    return Takeover(context, process.memories, process.executor, modules, lambda: (world.now - began).total_seconds())
