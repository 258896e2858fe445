"""The reconcilers' real context, over a connection that nobody answers: for what is decided without the API server."""

import asyncio
import json
from atexit import register
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from shutil import copy2, rmtree
from tempfile import mkdtemp
from typing import Any

from curation.api.job import CurationJob
from curation.authz.book import PolicyBook
from curation.authz.grant import Grant
from curation.authz.grant_text import grant_text
from curation.checking.authorization import authorize
from curation.checking.verdict import Asked, Verdict, questions_of_wire, questions_to_wire, verdict_of_wire
from curation.cluster.api import ClusterAPI
from curation.cluster.clock import ServerClock
from curation.cluster.connection import connect
from curation.cluster.events import EventRecorder
from curation.cluster.resources import JOBS, MODULES
from curation.cluster.writer import Writer
from curation.execution.seam import Ended, ExecutionRequest, Held, Sink, Supplies, Unsupplied, process_liveness
from curation.lifecycle.outcome import Failed, FailureClass, Liveness, Report
from curation.oci.puller import Puller
from curation.reconciler.approvals.asking import Approvals
from curation.reconciler.jobs.memory import Memories
from curation.reconciler.jobs.reconciler import JobReconciler
from curation.reconciler.jobs.runs import Runs
from curation.reconciler.jobs.takeover import Takeover
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.metrics import Metrics
from curation.reconciler.runtime.queue import WorkQueue
from curation.reconciler.runtime.result import Result, carry_out
from curation.reconciler.runtime.settings import Settings
from curation.reconciler.runtime.verdicts import Verdicts
from curation.reconciler.sources.in_use import InUse
from curation.reconciler.sources.module_credentials import ModuleCredentials
from curation.reconciler.sources.modules import ModuleReconciler
from curation.reconciler.sources.run_supplies import RunSupplies
from curation.wasm.store import ModuleStore
from tests.unit.reconciler.virtual_time import loop

NAMESPACE = "ns"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
DIGEST = f"sha256:{'0' * 64}"


class SupplyingExecutor:
    """Gets the credentials of each execution, and nothing further: no module is compiled here."""

    def __init__(self, supplies: Supplies) -> None:
        self._supplies = supplies
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, request: ExecutionRequest, sink: Sink) -> None:
        task = asyncio.create_task(self._supply(request, sink))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _supply(self, request: ExecutionRequest, sink: Sink) -> None:
        failure = Failed(FailureClass.MODULE_UNAVAILABLE, "nothing is executed here")
        try:
            await self._supplies.credentials(request)
        except Unsupplied as error:
            failure = Failed(FailureClass.MODULE_UNAVAILABLE, str(error), error.absent)
        sink(request.execution, Ended(Report(request.trigger, request.run, failure)))

    def attach(self, request: ExecutionRequest, sink: Sink) -> None: ...

    def stop(self, execution: str, why: str) -> None: ...

    def settled(self, execution: str) -> None: ...

    def liveness(self, held: Held) -> Liveness:
        return process_liveness(held, Liveness.UNKNOWN)

    async def drain(self, grace: float) -> None: ...


class Rig:
    """The parts of a process, in virtual time, with a server clock that began at the start of 2026."""

    def __init__(
        self, context: Context, store: ModuleStore, book: PolicyBook, monotonic: Callable[[], float] | None = None
    ) -> None:
        self.context = context
        self.book = book
        """The context's, as one that can be decided by."""
        self.queue = context.queue
        self.in_use = InUse(context, JobIndex(context.metrics))
        self.modules = ModuleReconciler(context, store, self.in_use, Puller(folder=store.folder))
        self.credentials = ModuleCredentials(context.api, monotonic or loop().time)
        self.memories = Memories()
        self.executor = SupplyingExecutor(RunSupplies(self.modules, self.credentials))
        self.runs = Runs(context, self.memories, self.executor, self.modules)

    def jobs(self, approvals: Approvals) -> JobReconciler:
        """The reconciler of jobs, on these parts."""
        takeover = Takeover(self.context, self.memories, self.executor, self.modules)
        return JobReconciler(self.context, self.memories, self.runs, self.modules, approvals, takeover)

    def taken(self) -> list[Key]:
        """Take all keys that are ready, and give them back."""
        keys = []
        while len(self.queue):
            # Ready: `get` returns without waiting.
            step = self.queue.get()
            try:
                step.send(None)
            except StopIteration as end:
                keys.append(end.value)
            self.queue.done(keys[-1])
        return keys


@asynccontextmanager
async def disconnected(
    folder: Path, *, monotonic: Callable[[], float] | None = None, **settings: Any
) -> AsyncIterator[Rig]:
    """A rig whose API server cannot be reached; in virtual time, unless it is given another."""
    elapsed = monotonic or loop().time
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "nobody", "user": {}}],
                "contexts": [{"name": "none", "context": {"cluster": "none", "user": "nobody"}}],
                "current-context": "none",
            }
        )
    )
    clock = ServerClock(wall=lambda: EPOCH, monotonic=elapsed)
    metrics, book = Metrics(), PolicyBook()
    connection = await connect(environ={"KUBECONFIG": str(kubeconfig)}, clock=clock)
    modules = folder / "compiled-modules"
    modules.mkdir(mode=0o700, exist_ok=True)  # of another rig of the same test
    for each in compiled().iterdir():
        copy2(each, modules)
    store = ModuleStore(modules)
    try:
        api, writer = ClusterAPI(connection), Writer(connection)
        queue: WorkQueue[Key] = WorkQueue(metrics, elapsed)
        context = Context(
            Settings(**{"identity": "me", "holder": "me/1", **settings}),
            api,
            writer,
            clock,
            metrics,
            EventRecorder(api, writer, identity="me", clock=clock),
            book,
            Verdicts(book, clock, queue, judged_here),
            queue,
        )
        rig = Rig(context, store, book, elapsed)
        yield rig
        rig.runs.close()
        await context.verdicts.close()
        queue.close()
    finally:
        await store.close()
        await connection.close()


@cache
def compiled() -> Path:
    """A folder with the compiled module that the operator ships.

    Trap: in virtual time the time that a compiler may take is over at once.
    """
    folder = Path(mkdtemp(prefix="curation-test-modules-"))
    register(rmtree, folder)

    async def compile_it() -> None:
        store = ModuleStore(folder)
        await store.load_builtin("build-session-message-v1")
        await store.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, compile_it()).result()
    return folder


async def judged_here(namespace: str, ask: Callable[[], Asked]) -> list[Verdict]:
    """What a checker does, in this process."""
    asked = ask()
    assert asked.counts is not None
    questions, now = questions_of_wire(questions_to_wire(asked.questions)), datetime.fromtimestamp(asked.now, UTC)
    read = authorize(namespace, asked.counts, questions, now, 60)
    pairs = zip(asked.questions, read, strict=True)
    return [verdict_of_wire(question, asked.revision, each) for question, each in pairs]


async def text_here(grant: Grant) -> str:
    """What a checker does, in this process."""
    return grant_text(grant)


def carried(
    context: Context, reconcile: Callable[[Key], Awaitable[Result]]
) -> Callable[[Key], Coroutine[Any, Any, None]]:
    """Reconcile, and do what it asks for."""

    async def work(worked: Key) -> None:
        carry_out(context, worked, await reconcile(worked))

    return work


def key(name: str = "job") -> Key:
    return Key(JOBS, NAMESPACE, name)


def module_key(name: str = "m") -> Key:
    return Key(MODULES, NAMESPACE, name)


def document(name: str = "job", *, version: int = 5, status: dict[str, Any] | None = None, **changes: Any) -> Any:
    """A job as the API server would show it."""
    metadata = {
        "name": name,
        "namespace": NAMESPACE,
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "generation": 1,
        "finalizers": ["curation.dev/session"],
        "creationTimestamp": "2026-01-01T00:00:00Z",
        **changes.pop("metadata", {}),
    }
    spec = {"moduleRef": {"name": "m"}, **changes.pop("spec", {})}
    return {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": "CurationJob",
        "metadata": metadata,
        "spec": spec,
        "status": status or {},
        **changes,
    }


def run_status(phase: str, *, holder: str = "me/1", submitted_at: str = "2026-01-01T00:00:10Z") -> dict[str, Any]:
    """The status of a job with one run in this phase."""
    session = {"id": "s-1", "runID": "uid-job.g1.a1", "spawnedAt": submitted_at}
    return {
        "observedGeneration": 1,
        "phase": phase,
        "phaseSince": submitted_at,
        "run": {
            "id": "uid-job.g1.a1",
            "generation": 1,
            "attempt": 1,
            "templateDigest": "v1:x",
            "module": {"name": "m", "digest": DIGEST},
            "holder": holder,
            "submittedAt": submitted_at,
        },
        **({"session": session} if phase == "Running" else {}),
    }


def job(*args: Any, **kwargs: Any) -> CurationJob:
    """The same as `document`, as a model."""
    return CurationJob.model_validate(document(*args, **kwargs))


async def put_module(rig: Rig, **spec: Any) -> None:
    """The run's module is known."""
    metadata = {"name": "m", "namespace": NAMESPACE, "uid": "u", "resourceVersion": "1", "generation": 1}
    full = {"source": {"builtin": "build-session-message-v1"}, **spec}
    rig.context.caches[MODULES].put({"metadata": metadata, "spec": full})
    await rig.modules.load(module_key())
    rig.taken()
