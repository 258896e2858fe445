"""One execution for a job, as far as the reconciler deals with it: fed by versions of the job, ended by one report.

It is there from before its claim is sent. So a version that ends its run while the claim is being answered reaches it
as any other does: its fence is dead before it is launched, and it says nothing in the job. A fence that is dead stays
dead, even if the run seems current again later.
"""

import logging
from dataclasses import dataclass

from curation.api.job import CurationJob
from curation.api.names import Trigger
from curation.cluster.cache import Stored
from curation.execution.executor import Execution
from curation.lifecycle.fence import objection
from curation.reconciler.jobs.orders import Order
from curation.reconciler.runtime.unreadable import job_of

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Attempt:
    """An order that is to be executed, or is being executed."""

    order: Order
    execution: Execution | None = None
    """Once it was started."""
    dead: str = ""
    """Why its fence died, if it did."""
    launched: bool = False
    """Whether it is to be executed: the claim of a Submit attempt is there. One that never was is not spoken of."""

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

    def start(self, execution: Execution) -> None:
        """It is being executed from now on; at once dead if its fence is, so that nothing leaves."""
        self.execution = execution
        if self.dead:
            execution.kill(self.dead)

    def kill(self, why: str) -> None:
        """From now on nothing that it does counts for the job."""
        if self.dead:
            return
        self.dead = why
        if self.execution is not None:
            self.execution.kill(why)
        if self.launched:
            self._tell()

    def _tell(self) -> None:
        left = self.execution.calls.left if self.execution is not None else 0
        log.info(
            "run %s has stopped being current: %s; no request of it leaves any more",
            self.order.run.id,
            self.dead,
            extra={**self.order.log_fields, "requests_left": left},
        )

    def _ask_fence(self, job: CurationJob | None) -> None:
        against = objection(job, self.order.run, self.order.trigger)
        if against is not None:
            self.kill(against.message)
