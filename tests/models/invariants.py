"""Checks what the processes do, and is independent of the fence.

It compares raw documents, and knows for each run with which template and at which version it was claimed. What it
forbids is docs/fence.md, I4 and I5, that a run id is executed twice, that a good completion is dropped, and that a
stale one, or the same one twice, is applied.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from curation.api.job import Run
from curation.api.names import Trigger
from curation.lifecycle.outcome import Report, RunKey
from tests.models.apiserver import ApiServer
from tests.models.documents import Document, template, version
from tests.oracles.versions import describe, revision

if TYPE_CHECKING:
    from tests.models.process import Process


class Violation(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True)
class Claim:
    """What a run was claimed with."""

    run: RunKey
    template: Document
    revision: int


@dataclass
class Invariants:
    """Is called for every act, and raises Violation."""

    api: ApiServer
    claims: dict[str, Claim] = field(default_factory=dict)
    launched: set[str] = field(default_factory=set)
    applied: set[str] = field(default_factory=set)
    """The runs whose Submit outcome was written."""
    rulings: list[tuple[str, str]] = field(default_factory=list)
    """(run id, ruling) of each Submit completion."""
    frozen: dict[tuple[str, int], Document | None] = field(default_factory=dict)
    """What the first claim of each uid and run.generation has frozen."""
    given_up: set[str] = field(default_factory=set)
    """The runs whose sessions could not be cancelled in time."""

    def claim(self, run: Run, obj: Document, before: Document | None) -> None:
        """A run was claimed, which made this version. All runs of a template are given what the first one was."""
        frozen = obj["status"].get("frozen")
        named = obj["spec"].get("inputFrom", {}).get("configMapKeyRef", {}).get("key")
        if (frozen or {}).get("input", {}).get("work") != named:
            raise Violation(f"{run.id} is given {frozen}, its job names {named}")
        if self.frozen.setdefault((obj["metadata"]["uid"], run.generation), frozen) != frozen:
            raise Violation(f"{run.id} is given {frozen}, unlike an earlier run of its template")
        key = RunKey(obj["metadata"]["uid"], run.id, run.generation, run.attempt, run.template_digest)
        self.claims.setdefault(run.id, Claim(key, template(obj), revision(obj)))

    def launch(self, run_id: str) -> None:
        """A run id is executed by one process, once, and only after a status has named it."""
        if run_id not in self.claims:
            raise Violation(f"run {run_id} is executed, and no status names it")
        if run_id in self.launched:
            raise Violation(f"run {run_id} is executed a second time")
        self.launched.add(run_id)

    def departure(self, process: "Process", run_id: str, trigger: Trigger, since: int) -> None:
        """I5: a request may leave only while nothing that its process has received has ended its run."""
        claim = self.claims[run_id]
        if claim.run.uid in process.deleted:
            raise Violation(f"I5: a {trigger} request of {run_id} leaves after its job was seen deleted")
        for obj in process.received:
            if revision(obj) > since and not current(obj, claim, trigger):
                raise Violation(f"I5: a {trigger} request of {run_id} leaves after this was received: {describe(obj)}")

    def write(self, base: Document, before: Document | None, report: Report | None) -> None:
        """I4: a status is written to the very version that it was computed from. Only a current run's outcome is."""
        if before is None or version(before) != version(base):
            raise Violation(f"I4: a write computed from {describe(base)} was applied to {before and describe(before)}")
        if report is None:
            return
        if report.trigger is Trigger.SUBMIT:
            if report.run.id in self.applied:
                raise Violation(f"the outcome of {report.run.id} was applied a second time")
            self.applied.add(report.run.id)
        if not current(before, self.claims[report.run.id], report.trigger):
            raise Violation(f"a stale completion of {report.run.id} was applied to {describe(before)}")

    def ruling(self, report: Report, ruling: str) -> None:
        """No run is dropped that was current all the time, and none counts as applied that was not."""
        if report.trigger is not Trigger.SUBMIT:
            return
        if ruling == "applied" and report.run.id not in self.applied:
            raise Violation(f"the outcome of {report.run.id} counts as applied, and was never written")
        self.rulings.append((report.run.id, ruling))
        if ruling in ("stale", "gone") and not self._ended(self.claims[report.run.id]):
            raise Violation(f"a good completion of {report.run.id} was dropped")

    def _ended(self, claim: Claim) -> bool:
        return any(
            event.type == "DELETED" or not current(event.obj, claim, Trigger.SUBMIT)
            for event in self.api.events
            if revision(event.obj) > claim.revision
        )


def current(obj: Document, claim: Claim, trigger: Trigger) -> bool:
    """Whether a run speaks for this version of the job."""
    metadata, status = obj["metadata"], obj.get("status", {})
    return bool(
        metadata["uid"] == claim.run.uid
        and not metadata.get("deletionTimestamp")
        and not obj["spec"].get("suspend")
        and status.get("run", {}).get("id") == claim.run.id
        and status.get("phase") == ("Submitted" if trigger is Trigger.SUBMIT else "Running")
        and template(obj) == claim.template
    )
