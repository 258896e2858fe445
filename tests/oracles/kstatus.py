"""kstatus: what a tool that knows nothing of curation takes a job for (docs/fence.md, I10).

Source: sigs.k8s.io/cli-utils, pkg/kstatus/status (`checkGenericProperties`, `checkReadyCondition`): the rules for a
resource that has none of its own.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from tests.oracles.versions import describe

Document = dict[str, Any]


class Status(StrEnum):
    """What kstatus calls a resource."""

    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    CURRENT = "Current"
    TERMINATING = "Terminating"


def compute(obj: Document) -> Status:
    """The kstatus of an object."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return Status.TERMINATING
    observed = status.get("observedGeneration")
    if observed is not None and observed != metadata.get("generation"):
        return Status.IN_PROGRESS
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions") or []}
    if conditions.get("Reconciling") == "True":
        return Status.IN_PROGRESS
    if conditions.get("Stalled") == "True":
        return Status.FAILED
    if conditions.get("Ready") in ("False", "Unknown"):
        return Status.IN_PROGRESS
    return Status.CURRENT


_ENDS = {"Completed": Status.CURRENT, "Failed": Status.FAILED}


def check_truth(versions: Iterable[Document]) -> None:
    """I10: Current when the job completed, Failed when it failed or only another module can help, neither before."""
    for obj in versions:
        status, verdict = obj.get("status") or {}, compute(obj)
        if verdict is Status.TERMINATING:
            continue
        phase = str(status.get("phase"))
        observed = status.get("observedGeneration") == obj["metadata"]["generation"]
        expected = _ENDS.get(phase, Status.IN_PROGRESS)
        if phase == "Queued" and status.get("reason") in ("ModuleUnusable", "ExecutorUnavailable"):
            expected = Status.FAILED  # nothing that is under way will mend it; another spec of the module does
        if verdict is not (expected if observed else Status.IN_PROGRESS):
            raise AssertionError(f"kstatus says {verdict} of a job that is {phase}: {describe(obj)}")


def check_readiness(versions: Iterable[Document]) -> None:
    """Of a kind that has no end: Current if and only if its status says that this generation is Ready."""
    for obj in versions:
        conditions = (obj.get("status") or {}).get("conditions")
        if not conditions or obj["metadata"].get("deletionTimestamp"):
            continue
        ready = any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
        observed = obj["status"].get("observedGeneration") == obj["metadata"]["generation"]
        verdict = compute(obj)
        if (verdict is Status.CURRENT) != (ready and observed):
            raise AssertionError(f"kstatus says {verdict} of an object whose Ready is {ready}: {describe(obj)}")
