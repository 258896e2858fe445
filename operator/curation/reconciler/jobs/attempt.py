"""One execution for a job, as far as the reconciler deals with it: fed by versions of the job and by what is heard.

It is there from before its claim is sent. So a version that ends its run while the claim is being answered reaches it
as any other does: its fence is dead before it is launched, and it says nothing in the job. A fence that is dead stays
dead, even if the run seems current again later. What is heard of an execution may come late, twice, or in another
order: only the first end counts.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from curation.api.job import CurationJob
from curation.api.names import FailureClass, Trigger
from curation.cluster.cache import Stored
from curation.execution.seam import Answered, Ended, Left, Lost, Refused, Waiting, Word, execution_id
from curation.lifecycle.fence import objection
from curation.lifecycle.outcome import Calls, Failed, Report
from curation.reconciler.jobs.orders import Order
from curation.reconciler.runtime.unreadable import job_of

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Attempt:
    """An order that is to be executed, or is being executed."""

    order: Order
    number: int = 1
    """Of the executions of this run with this trigger."""
    stop: Callable[[str, str], None] | None = None
    """Stops the execution with this id, saying why; set once it was started."""
    dead: str = ""
    """Why its fence died, if it did."""
    slot: bool = True
    """Whether a Submit attempt holds a slot of this process until its end."""
    launched: bool = False
    """Whether it is to be executed: the claim of a Submit attempt is there. One that never was is not spoken of."""
    waits: str = ""
    """Why it has not begun, if it says so."""
    left: set[int] = field(default_factory=set)
    """The calls that are known to have left."""
    answered: set[int] = field(default_factory=set)
    """Those whose answer is known to have been seen."""
    report: Report | None = None
    """What it ended with."""

    @property
    def execution(self) -> str:
        """The id that it is executed under."""
        return execution_id(self.order.run.id, self.order.trigger, self.number)

    def on_version(self, version: Stored | None) -> None:
        """Ask the fence: the job is as this version shows it, or gone.

        Trap: only versions that the cache accepts may come here. An older one would show a job without this run.
        """
        if self.dead or self.order.trigger is Trigger.CANCEL:
            return
        if version is None or version.uid != self.order.run.uid:
            self._ask_fence(None)
            return
        job, fault = job_of(version)
        if fault is None:
            self._ask_fence(job)
        else:
            self.kill(f"the job cannot be read: {fault}")  # nothing says that it is current

    def launch(self) -> None:
        """It is to be executed."""
        self.launched = True
        if self.dead:
            self._tell()

    def kill(self, why: str) -> None:
        """From now on nothing that it does counts for the job."""
        if self.dead:
            return
        self.dead = why
        if self.stop is not None:
            self.stop(self.execution, why)
        if self.launched:
            self._tell()

    def hear(self, word: Word) -> Report | None:
        """Take in what is said of its execution; returns the report when this is its end, which it is once."""
        if self.report is not None:
            return None
        match word:
            case Waiting(reason):
                self.waits = reason
            case Left(number):
                self.left.add(number)
            case Answered(number):
                self.answered.add(number)
            case Ended(report):
                return self._end(report)
            case Refused(reason, retryable):
                return self.fail(reason, absent=not retryable)
            case Lost(cause, calls, over_limit):
                message = f"What became of the run is not known: {cause}"
                failed = Failed(FailureClass.INTERRUPTED, message, over_limit=over_limit)
                return self._end(Report(self.order.trigger, self.order.run, failed, calls or self._calls()))
        return None

    def fail(self, message: str, calls: Calls | None = None, *, absent: bool = False) -> Report:
        """It ended without a report of its own, or never began."""
        failed = Failed(FailureClass.MODULE_UNAVAILABLE, message, absent)
        return self._end(Report(self.order.trigger, self.order.run, failed, calls or Calls()))

    def _end(self, report: Report) -> Report:
        if (report.trigger, report.run) != (self.order.trigger, self.order.run):
            return self.fail(f"It ended with the report of another run, {report.run.id}.", self._calls())
        self.report = replace(report, dead=True) if self.dead else report
        return self.report

    def _calls(self) -> Calls:
        """What is known of its calls. Trap: one more may have left than was heard of."""
        left = len(self.left | self.answered) + 1
        return Calls(left=left, answered=len(self.answered), allowed=left)

    def _tell(self) -> None:
        log.info(
            "run %s has stopped being current: %s; no request of it leaves any more",
            self.order.run.id,
            self.dead,
            extra={**self.order.log_fields, "requests_left": len(self.left)},
        )

    def _ask_fence(self, job: CurationJob | None) -> None:
        against = objection(job, self.order.run, self.order.trigger)
        if against is not None:
            self.kill(against.message)
