"""What holds for every job after every sequence of events, whatever the processes around it do.

Here nothing is plausible: facts contradict each other, completions come in any order, twice, and of runs long gone.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from curation.api.approval import ApprovalDecision, request_digest
from curation.api.job import CurationJob, OnDenied, Retry, status_to_wire
from curation.api.names import FailureClass, Phase, Reason, Trigger
from curation.lifecycle.complete import Moment, Ruling, complete
from curation.lifecycle.decide import decide, runs_to_clean
from curation.lifecycle.fence import objection
from curation.lifecycle.outcome import (
    Calls,
    Cancelled,
    Completed,
    Liveness,
    Report,
    Result,
    RunKey,
    SessionFailed,
    SessionRef,
    SessionSpawned,
    StillRunning,
)
from curation.lifecycle.step import Facts, Problem, Step
from curation.lifecycle.template import template_changed
from tests.oracles.history import check_history
from tests.unit.lifecycle.builders import (
    HERE,
    MODULE_DIGEST,
    NOW,
    THERE,
    deleted,
    denied,
    edited,
    failed,
    key,
    new_job,
    request,
    stored,
)

PROFILE = settings.get_profile("lifecycle")

RESULTS: st.SearchStrategy[Result] = st.one_of(
    st.sampled_from(["s1", "s2", "s3"]).map(lambda name: SessionSpawned(SessionRef(name))),
    st.sampled_from([Completed({}), StillRunning(), StillRunning({"a": 1}), SessionFailed("x"), Cancelled()]),
    st.sampled_from(list(FailureClass)).map(failed),
    st.just(denied()),
)
CALLS = st.sampled_from([Calls(), Calls(1, 1, 1), Calls(2, 1, 2)])
EDITS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"rerun": "1"},
        {"rerun": "2"},
        {"rerun": ""},
        {"input": {"number": 2**60}},
        {"input": {}},
        {"suspend": True},
        {"suspend": False},
        {"on_denied": OnDenied.FAIL},
        {"retry": Retry(limit=1)},
        {"ttl_seconds_after_finished": 60},
    ]
)
TEMPLATE = ("rerun", "input")
PROBLEMS = [
    Problem(reason, "It cannot be made.", warn=reason is Reason.APPROVAL_REFUSED)
    for reason in (Reason.TOO_MANY_APPROVALS, Reason.APPROVAL_REFUSED, Reason.APPROVAL_UNREADABLE)
]


@st.composite
def fact_changes(draw: st.DrawFn) -> dict[str, Any]:
    flags = ("slot", "request_allowed", "module_unusable")
    changes: dict[str, Any] = {flag: draw(st.booleans()) for flag in flags}
    changes["module_digest"] = draw(st.sampled_from([MODULE_DIGEST, MODULE_DIGEST, None]))
    changes["approval"] = draw(st.sampled_from([None, None, *ApprovalDecision]))
    changes["approval_problem"] = draw(st.sampled_from([None, None, *PROBLEMS]))
    changes["finalizer_refused"] = draw(st.sampled_from(["", "", "403 Forbidden: no"]))
    changes["executor_problem"] = draw(st.sampled_from(["", "", "There are no guest pods."]))
    changes["holder"] = draw(st.sampled_from([HERE, THERE]))
    changes["clean"] = draw(st.booleans())
    changes["liveness"] = draw(st.sampled_from(Liveness))
    return changes


EVENTS = st.one_of(
    fact_changes().map(lambda changes: ("decide", changes)),
    fact_changes().map(lambda changes: ("decide", changes)),
    st.tuples(st.just("report"), st.integers(0, 9), RESULTS, st.sampled_from(Trigger), CALLS, st.booleans()),
    st.tuples(st.just("current report"), RESULTS, st.sampled_from([Trigger.SUBMIT, Trigger.OBSERVE]), CALLS),
    EDITS.map(lambda edit: ("edit", edit)),
    st.sampled_from([1, 100, 1000, 8000]).map(lambda seconds: ("time", seconds)),
)


@dataclass
class Life:
    """One job, and every run that it ever had."""

    job: CurationJob = field(default_factory=new_job)
    now: datetime = NOW
    runs: list[RunKey] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)

    def see(self, job: CurationJob) -> None:
        self.job = job
        document = job.model_dump(mode="json", by_alias=True, exclude_none=True)
        document["status"] = {"observedGeneration": -1, **status_to_wire(job.status)}
        document["metadata"]["resourceVersion"] = str(len(self.versions))
        self.versions.append(document)

    def happens(self, event: tuple[Any, ...]) -> None:
        match event:
            case ("decide", changes):
                self._decide(changes)
            case ("report", number, result, trigger, calls, dead):
                if self.runs:
                    run = self.runs[number % len(self.runs)]
                    self._report(Report(trigger, run, result, calls, dead=dead))
            case ("current report", result, trigger, calls):
                if self.job.status.run is not None:
                    self._report(Report(trigger, key(self.job), result, calls))
            case ("edit", edit):
                if any(getattr(self.job.spec, name) != value for name, value in edit.items()):
                    self.see(edited(self.job, **edit))
            case ("time", seconds):
                self.now += timedelta(seconds=seconds)

    def facts(self, changes: dict[str, Any]) -> Facts:
        known = {name: value for name, value in changes.items() if name != "clean"}
        cleaned = frozenset(runs_to_clean(self.job)) if changes["clean"] else frozenset()
        return Facts(now=self.now, **known, module_message="not there", cleaned=cleaned)

    def _decide(self, changes: dict[str, Any]) -> None:
        before, facts = self.job, self.facts(changes)
        step = decide(before, facts)
        self._check_step(before, step)
        if step.status == before.status:
            return
        self.see(stored(before, step.status))
        if step.launch is not None:
            self.runs.append(key(self.job))
            assert objection(self.job, key(self.job), Trigger.SUBMIT) is None, "a run is current when it is launched"
        # What was written comes to rest: nothing is written a second time for the same facts.
        for _ in range(3):
            again = decide(self.job, replace(facts, liveness=Liveness.ALIVE))
            if again.status == self.job.status:
                return
            assert self.job.status.phase is Phase.QUEUED, "only a job that was just freed is decided at once again"
            self.see(stored(self.job, again.status))
            if again.launch is not None:
                self.runs.append(key(self.job))
        raise AssertionError("decide never comes to rest")

    def _check_step(self, before: CurationJob, step: Step) -> None:
        old, new = before.status, step.status
        if step.launch is not None:
            assert new.phase is Phase.SUBMITTED
            assert new.run == step.launch
            assert not before.spec.suspend
            assert len(new.abandoned_runs) <= 19
        if template_changed(before) and new != old:
            assert new.phase in (Phase.QUEUED, Phase.SUBMITTED, Phase.FAILED)
            assert new.session is None or new.phase is not Phase.SUBMITTED
            if old.phase in (Phase.SUBMITTED, Phase.RUNNING):
                assert old.run is not None
                assert old.run.id in {entry.id for entry in new.abandoned_runs}
        if not template_changed(before) and old.phase is not None and old.phase.terminal:
            assert (new.phase, new.run, new.reason, new.output) == (old.phase, old.run, old.reason, old.output)

    def _report(self, report: Report) -> None:
        before = self.job
        if report.trigger is Trigger.CANCEL:
            return
        verdict = complete(before, report, Moment(self.now, 0.5, request_digest(request())))
        current = objection(before, report.run, report.trigger) is None and not report.dead
        assert (verdict.ruling is Ruling.APPLIED) == current
        if not current:
            assert verdict.status is None, "a run that is not current never changes a status"
            return
        if verdict.status is not None and verdict.status != before.status:
            self.see(stored(before, verdict.status))


@settings(PROFILE, max_examples=250)
@given(st.lists(EVENTS, min_size=5, max_size=40))
def test_every_history_is_sound(events: list[tuple[Any, ...]]) -> None:
    """Terminal is absorbing, attempts rise by one, observedGeneration never falls, kstatus and Flux are content."""
    life = Life()
    life.see(life.job)
    for event in events:
        life.happens(event)
    check_history(life.versions)


@settings(PROFILE, max_examples=150)
@given(st.lists(EVENTS, max_size=20), EDITS.filter(lambda edit: not set(edit) & {*TEMPLATE, "suspend"}))
def test_a_control_edit_never_restarts_anything(events: list[tuple[Any, ...]], edit: dict[str, Any]) -> None:
    life = Life()
    life.see(life.job)
    for event in events:
        life.happens(event)
    facts = Facts(now=life.now, holder=HERE, liveness=Liveness.ALIVE, module_message="not there", cleaned=frozenset())
    resting = stored(life.job, decide(life.job, facts).status)
    after = decide(edited(resting, **edit), facts)
    assert after.launch is None
    assert (after.status.run, after.status.phase, after.status.abandoned_runs) == (
        resting.status.run,
        resting.status.phase,
        resting.status.abandoned_runs,
    )


@settings(PROFILE, max_examples=150)
@given(st.lists(EVENTS, max_size=20))
def test_a_template_change_always_supersedes_and_is_attempt_one(events: list[tuple[Any, ...]]) -> None:
    life = Life()
    life.see(life.job)
    for event in events:
        life.happens(event)
    before = edited(life.job, rerun="anew", input={}, suspend=False)
    everything = frozenset(entry.id for entry in before.status.abandoned_runs)
    step = decide(before, Facts(now=life.now, holder=HERE, module_digest=MODULE_DIGEST, cleaned=everything))
    assert step.launch is not None
    assert (step.launch.attempt, step.launch.generation) == (1, before.metadata.generation)
    after = stored(before, step.status)
    for run in life.runs:
        assert objection(after, run, Trigger.SUBMIT) is not None
        assert objection(after, run, Trigger.OBSERVE) is not None


@settings(PROFILE, max_examples=100)
@given(st.lists(EVENTS, max_size=20), fact_changes())
def test_a_deleted_job_is_only_cleaned(events: list[tuple[Any, ...]], changes: dict[str, Any]) -> None:
    life = Life()
    life.see(life.job)
    for event in events:
        life.happens(event)
    life.job = deleted(life.job)
    step = decide(life.job, life.facts({**changes, "clean": False}))
    assert (step.launch, step.add_finalizer, step.delete) == (None, False, False)
    assert step.status == life.job.status
    assert step.remove_finalizer == (not runs_to_clean(life.job))
