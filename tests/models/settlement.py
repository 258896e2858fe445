"""The operator's own `Completion`, step by step: whatever it waits for, something else may come in between.

What it asks of its process (what is known of the job, a write, a read) the model's process does. Its Events and
metrics nobody reads.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from curation.api.job import CurationJob, JobStatus
from curation.cluster.answers import Conflict, Gone, Refused, Unknown, WriteAnswer, Written
from curation.cluster.mergepatch import merge_patch
from curation.cluster.resources import JOBS
from curation.lifecycle.outcome import Report
from curation.reconciler.jobs.completion import Completion, Pending, Settled, orphaned
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.metrics import Metrics
from curation.reconciler.runtime.refusals import Refusals
from tests.models.apiserver import Reply
from tests.models.documents import NAME, Document, version
from tests.models.executions import Step, Task

if TYPE_CHECKING:
    from tests.models.process import Process

KEY = Key(JOBS, "", NAME)
METRICS = Metrics()

M = TypeVar("M", bound=BaseModel)


def settle(process: "Process", pending: Pending) -> Task:
    """Settle a completion: check it and write it, by compare-and-set (rule 4)."""
    report, order = pending.report, pending.order
    context: Any = _Context(process, report)
    completion = Completion(context, pause=lambda seconds: Step("checking"), sample=lambda: 0.5)
    settled = None
    while not isinstance(settled, Settled):  # else it is to come again later
        settled = yield from completion.settle(KEY, pending, process.memory(order.run.uid).freed_for).__await__()
    process.world.checker.ruling(report, settled.verdict.ruling)
    process.settled(pending)
    if orphaned(settled.verdict, report) and process.world.guards.cancel_dropped:
        process.cleanup.orphan(KEY, process.job(), order, settled.verdict.orphan)


@dataclass(frozen=True)
class _Known:
    """A version that the process knows, as `Cache` keeps them."""

    obj: Document

    @property
    def resource_version(self) -> int:
        return int(version(self.obj))

    def parse(self, model: type[M]) -> M:
        return model.model_validate(self.obj)


class _Context:
    """What `Completion` needs of a process."""

    def __init__(self, process: "Process", report: Report) -> None:
        self._process = process
        self._report = report
        self.clock = SimpleNamespace(now=lambda: process.world.now)
        self.metrics = METRICS
        self.refusals = Refusals(self.record_event, METRICS.refused_writes, lambda: process.world.now.timestamp())

    def cache(self, key: Key) -> "_Context":
        """Itself."""
        return self

    def get(self, namespace: str, name: str) -> _Known | None:
        """What the process knows of its one job."""
        known = self._process.known
        return _Known(known) if known is not None else None

    def phase_changed(self, job: CurationJob, after: JobStatus) -> None:
        """Count it; nobody is told."""
        self.metrics.phase_changed(job, after)

    def record_event(self, regarding: Document, event: object, log_fields: object) -> None:
        """Nobody listens."""

    def put(self, obj: Document) -> bool:
        """The answer to a write is taken in with it."""
        return True

    def refused(self, *_: object) -> None:
        """Nobody listens."""

    async def refresh(self, key: Key) -> bool:
        """Read the job anew."""
        self._process.refresh()
        return True

    async def write_status(self, key: Key, resource_version: int, old: Document, new: Document) -> WriteAnswer | None:
        """The write may meet what came in between, and its answer comes later than it was carried out."""
        base = self._process.known
        assert base is not None
        assert resource_version == int(version(base))
        patch = merge_patch(old, new)
        if patch is None:
            return None
        await Step("checked")
        reply = self._process.world.write(base, {"status": patch}, "status", report=self._report)
        await Step("written")
        if reply is not None and reply.code == 200:
            self._process.take(reply)
        return _answer(reply)


def _answer(reply: Reply | None) -> WriteAnswer:
    if reply is None:
        return Unknown("no answer")
    match reply.code:
        case 200:
            return Written(reply.written)
        case 404:
            return Gone()
        case 409:
            return Conflict()
        case code:
            return Refused(code, "Forbidden", "refused")
