"""The fence: whether a run is still the current one of its job (docs/fence.md).

The attempt is the fencing token. The checks below are the whole rule, in order; the first that objects names why the
run is stale. They are asked twice: on every change of a job for each of its executions (a dead fence stops side
effects), and on every completion before it may change a status.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from curation.api.job import CurationJob
from curation.api.names import Phase, Trigger
from curation.lifecycle.outcome import RunKey
from curation.lifecycle.template import template_changed


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a run is not current."""

    reason: str
    message: str


Check = Callable[[CurationJob, RunKey, Trigger], str | None]


def _recreated(job: CurationJob, run: RunKey, _: Trigger) -> str | None:
    return None if job.metadata.uid == run.uid else f"the job was recreated (uid {job.metadata.uid})"


def _deleted(job: CurationJob, _run: RunKey, _: Trigger) -> str | None:
    return "the job is being deleted" if job.metadata.deletion_timestamp else None


def _suspended(job: CurationJob, _run: RunKey, _: Trigger) -> str | None:
    return "the job is suspended" if job.spec.suspend else None


def _superseded(job: CurationJob, run: RunKey, _: Trigger) -> str | None:
    current = job.status.run.id if job.status.run else "none"
    return None if current == run.id else f"the current run is {current}"


def _template_changed(job: CurationJob, _run: RunKey, _: Trigger) -> str | None:
    return "the template was changed" if template_changed(job) else None


_PHASE_OF_TRIGGER: Final = {Trigger.SUBMIT: Phase.SUBMITTED, Trigger.OBSERVE: Phase.RUNNING}


def _phase(job: CurationJob, _run: RunKey, trigger: Trigger) -> str | None:
    wanted = _PHASE_OF_TRIGGER.get(trigger)
    return None if job.status.phase == wanted else f"the job is {job.status.phase or 'new'}, not {wanted}"


CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("Recreated", _recreated),  # another object under the same name
    ("Deleted", _deleted),  # its sessions are being cancelled
    ("Suspended", _suspended),  # the run was abandoned, or is about to be
    ("Superseded", _superseded),  # another attempt holds the token
    ("TemplateChanged", _template_changed),  # another attempt is about to
    ("PhasePassed", _phase),  # the phase in which this run counts is over
)


def objection(job: CurationJob | None, run: RunKey, trigger: Trigger) -> Objection | None:
    """Why an execution for `trigger` of `run` is stale, or None if it is current. A job that is gone objects."""
    if job is None:
        return Objection("Gone", "the job is gone")
    for reason, check in CHECKS:
        message = check(job, run, trigger)
        if message:
            return Objection(reason, message)
    return None
