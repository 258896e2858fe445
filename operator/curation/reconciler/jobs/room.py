"""Memory of the workers for Submit runs: taken before a run is claimed, so that a job that waits for it is Queued.

Once the run is launched, what was taken is its execution's, whose end gives it back.
"""

from functools import partial

from curation.api.job import Run
from curation.api.names import Trigger
from curation.execution.seam import execution_id
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.sources.modules import ModuleReconciler


class Room:
    """Asks the account for the jobs of one process."""

    def __init__(self, context: Context, modules: ModuleReconciler) -> None:
        self._context = context
        self._account = context.memory
        self._modules = modules
        self._asking: dict[Key, str] = {}
        """Jobs that wait, or are called: the execution it is for."""

    def take(self, key: Key, run: Run, *, in_pod: bool = False) -> bool:
        """Take what this run may need, or be woken when it is kept for it. What is in a pod is not of the workers."""
        ticket, namespace = _ticket(run), key.namespace
        if self._asking.get(key) != ticket:
            self.forget(key)  # what it waited for was another run's
        need = self._modules.takes(namespace, run.module.name, run.module.digest, in_pod=in_pod)
        wake = partial(self._context.wake, key)
        if self._account.take(ticket, namespace, Trigger.SUBMIT, need, wake):
            self._asking.pop(key, None)
            return True
        self._asking[key] = ticket
        return False

    def why(self, key: Key) -> str:
        """What the job waits for; empty if it does not."""
        return self._account.why(self._asking.get(key, ""))

    def give_back(self, run: Run) -> None:
        """The run is not launched."""
        self._account.release(_ticket(run))

    def decline(self, key: Key) -> None:
        """The job was worked on; what is kept for it and it did not take is for the next one."""
        ticket = self._asking.get(key)
        if ticket is not None and not self._account.why(ticket):
            self.forget(key)

    def forget(self, key: Key) -> None:
        """The job waits for nothing any more."""
        ticket = self._asking.pop(key, None)
        if ticket is not None:
            self._account.leave(ticket)


def _ticket(run: Run) -> str:
    return execution_id(run.id, Trigger.SUBMIT, 1)
