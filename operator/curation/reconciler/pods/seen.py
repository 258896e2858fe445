"""What is read of Jobs and pods of guests: a few words of each. Pure; of other programs' objects, so nothing raises.

What the kubelet, the scheduler or a container runtime say in words is clipped: it comes into a status.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from curation.api.clipping import clip
from curation.api.names import ANNOTATION_RUN_ID, Trigger
from curation.execution.seam import execution_id

MAX_WORDS: Final = 512
_ENDED: Final = ("Failed", "FailureTarget", "Complete", "SuccessCriteriaMet")
_FAILED: Final = ("Failed", "FailureTarget")
_NOT_A_REASON: Final = ("", "ContainerCreating", "PodInitializing", "Completed")


@dataclass(frozen=True, slots=True)
class SeenJob:
    """A batch/v1 Job of a guest."""

    name: str
    uid: str
    execution: str
    suspended: bool = False
    deleted: bool = False
    """It is being deleted."""
    ended: str = ""
    """The type of the condition that says so; empty while it goes on."""
    why: str = ""
    """Its own reason for having failed."""
    version: int = 0
    """Its resourceVersion."""

    @property
    def can_speak(self) -> bool:
        """Whether a pod of it may still have something to say."""
        return not (self.deleted or self.ended)


@dataclass(frozen=True, slots=True)
class SeenPod:
    """A pod of such a Job."""

    name: str
    uid: str
    job_uid: str
    """Of the Job that controls it; empty: none does."""
    node: str = ""
    phase: str = ""
    deleted: bool = False
    why: str = ""
    """Why it ended badly, or cannot begin: reason and message of whoever says so."""
    reason: str = ""
    """The first word of that."""
    over_memory: bool = False

    @property
    def loss(self) -> str:
        """In one of three words, why it was lost: Memory, Evicted or Other."""
        evicted = self.reason in ("Evicted", "EvictionByEvictionAPI", "DeletionByTaintManager", "PreemptionByScheduler")
        return "Memory" if self.over_memory else "Evicted" if evicted else "Other"

    @property
    def ended(self) -> bool:
        """Whether its container has ended."""
        return self.phase in ("Succeeded", "Failed")


def job_of_document(document: Any) -> SeenJob | None:
    """A Job as it is shown; None for one that names no run."""
    meta, spec, status = _part(document, "metadata"), _part(document, "spec"), _part(document, "status")
    run = _text(_part(meta, "annotations"), ANNOTATION_RUN_ID)
    name, uid = _text(meta, "name"), _text(meta, "uid")
    if not (run and name and uid):
        return None
    true = {_text(each, "type"): each for each in _parts(status, "conditions") if each.get("status") == "True"}
    ended = next((kind for kind in _ENDED if kind in true), "")
    why = _said(true[ended]) if ended in _FAILED else ""
    return SeenJob(
        name,
        uid,
        execution_id(run, Trigger.SUBMIT, 1),
        suspended=spec.get("suspend") is True,
        deleted="deletionTimestamp" in meta,
        ended=ended,
        why=why,
        version=int(version) if (version := _text(meta, "resourceVersion")).isdecimal() else 0,
    )


def pod_of_document(document: Any) -> SeenPod:
    """A pod as it is shown."""
    meta, spec, status = _part(document, "metadata"), _part(document, "spec"), _part(document, "status")
    owners = (each for each in _parts(meta, "ownerReferences") if each.get("controller") is True)
    job_uid = next((_text(each, "uid") for each in owners if each.get("kind") == "Job"), "")
    reason, why = _trouble(status)
    return SeenPod(
        _text(meta, "name"),
        _text(meta, "uid"),
        job_uid,
        node=_text(spec, "nodeName"),
        phase=_text(status, "phase"),
        deleted="deletionTimestamp" in meta,
        why=why,
        reason=reason,
        over_memory=any(_text(each, "reason") == "OOMKilled" for each in _terminated(status)),
    )


def cause_of_loss(job: SeenJob, pod: SeenPod | None, *, bound: str, pod_is_gone: bool) -> str:
    """Why nothing will come of a run any more; empty while something may.

    `pod` is what is known of the pod that is `bound` to it, by name, or of any pod of its Job while that is empty.
    """
    what = f"pod {bound or (pod.name if pod is not None else 'none')}"
    if job.deleted:
        return f"its Job {job.name} is being deleted{_because(pod)}"
    if job.ended:
        return f"{what} of the Job {job.name} has ended{_because(pod) or (f': {job.why}' if job.why else '')}"
    if not bound:
        return ""
    if job.suspended:
        return f"its Job {job.name} was suspended"
    if pod is None:
        return f"{what} is gone" if pod_is_gone else ""
    return f"{what} has ended{_because(pod)}" if pod.ended else ""


def _because(pod: SeenPod | None) -> str:
    return f": {pod.why}" if pod is not None and pod.why else ""


def _trouble(status: Any) -> tuple[str, str]:
    """What is wrong with a pod, by whoever knows it best: (reason, reason and message)."""
    for each in _conditions(status, "DisruptionTarget", "True"):
        return _text(each, "reason"), _said(each)
    for each in _terminated(status):
        code = each.get("exitCode")
        if code != 0:
            return _text(each, "reason"), f"{_said(each)} (exit code {code})"
    if _text(status, "reason"):
        return _text(status, "reason"), _said(status)
    for container in _parts(status, "containerStatuses"):
        waiting = _part(_part(container, "state"), "waiting")
        if _text(waiting, "reason") not in _NOT_A_REASON:
            return _text(waiting, "reason"), _said(waiting)
    for each in _conditions(status, "PodScheduled", "False"):
        return _text(each, "reason"), _said(each)
    return "", ""


def _terminated(status: Any) -> Iterator[Any]:
    for container in _parts(status, "containerStatuses"):
        if found := _part(_part(container, "state"), "terminated"):
            yield found


def _conditions(status: Any, kind: str, value: str) -> Iterator[Any]:
    return (each for each in _parts(status, "conditions") if (each.get("type"), each.get("status")) == (kind, value))


def _said(part: Any) -> str:
    """Reason and message, in one line."""
    message = " ".join(_text(part, "message").split())
    return clip(": ".join(filter(None, (_text(part, "reason"), message))), MAX_WORDS)


def _part(document: Any, name: str) -> dict[str, Any]:
    found = document.get(name) if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}


def _parts(document: Any, name: str) -> list[dict[str, Any]]:
    found = document.get(name) if isinstance(document, dict) else None
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _text(document: Any, name: str) -> str:
    found = document.get(name) if isinstance(document, dict) else None
    return found if isinstance(found, str) else ""
