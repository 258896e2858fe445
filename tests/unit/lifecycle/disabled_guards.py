"""Removes one guard of the fence at a time from the real code, to show that it is needed."""

from collections.abc import Callable
from typing import Any

import pytest

from curation.cluster import writer
from curation.cluster.cache import Cache
from curation.lifecycle import decide as deciding
from curation.lifecycle import fence
from curation.lifecycle.outcome import Liveness
from curation.reconciler.jobs import reconciler
from curation.reconciler.jobs.attempt import Attempt
from curation.reconciler.jobs.reconciler import JobReconciler
from curation.reconciler.jobs.runs import Launch
from tests.models import executor

Disable = Callable[[pytest.MonkeyPatch], None]
"""Removes a guard while the patch lasts."""


def without_check(reason: str) -> Disable:
    """Without one of the checks of `curation.lifecycle.fence`."""

    def disable(patch: pytest.MonkeyPatch) -> None:
        left = tuple(check for check in fence.CHECKS if check[0] != reason)
        assert len(left) == len(fence.CHECKS) - 1
        patch.setattr(fence, "CHECKS", left)

    return disable


def without_conditioned_writes(patch: pytest.MonkeyPatch) -> None:
    """Writes land on whatever version there is."""
    patch.setattr(writer, "condition", lambda body, resource_version: body)


def without_claim_before_launch(patch: pytest.MonkeyPatch) -> None:
    """A run is launched, and then claimed."""
    write = JobReconciler._write

    async def launches(self: JobReconciler, key: Any, stored: Any, job: Any, step: Any) -> Any:
        for attempt in [each for each in self._memories.of(key, job.metadata.uid).attempts if not each.launched]:
            self._runs.launch(attempt)
        return await write(self, key, stored, job, step)

    patch.setattr(JobReconciler, "_write", launches)
    patch.setattr(Launch, "carry_out", lambda self, context: None)


def without_death(patch: pytest.MonkeyPatch) -> None:
    """An execution whose fence died comes to life when its run seems current again."""
    hears = Attempt.on_version

    def revived(self: Attempt, version: Any) -> None:
        if self.dead and self.stop is not None:
            found: executor.AdversarialExecutor = self.stop.__self__  # type: ignore[attr-defined]
            self.dead = ""
            if self.execution in found.executions:
                found.executions[self.execution].stopped = False
        hears(self, version)

    patch.setattr(Attempt, "on_version", revived)


def without_forward_only(patch: pytest.MonkeyPatch) -> None:
    """A version takes the place of a newer one."""
    put = Cache.put

    def takes(self: Cache, obj: Any) -> bool:
        self._objects.get(obj["metadata"].get("namespace", ""), {}).pop(obj["metadata"]["name"], None)
        return put(self, obj)

    patch.setattr(Cache, "put", takes)


def without_cancel_of_dropped(patch: pytest.MonkeyPatch) -> None:
    """What a dropped completion has left is not cancelled."""
    patch.setattr(reconciler, "orphaned", lambda verdict, report: False)


def without_finalizer_first(patch: pytest.MonkeyPatch) -> None:
    """Claims are computed from objects without our finalizer too."""
    patch.setattr(deciding, "_needs_finalizer", lambda job: False)


def without_holder_rule(patch: pytest.MonkeyPatch) -> None:
    """Whatever Submitted run a process does not execute itself, it takes for dead."""
    patch.setattr(executor, "process_liveness", lambda held, known: Liveness.GONE)
