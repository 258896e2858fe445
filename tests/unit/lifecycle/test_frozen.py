"""inputFrom and configFrom: read for the first claim of a template, frozen by it, and the same for all that follows."""

from typing import Any

import pytest

from curation.api.digest import template_digest
from curation.api.job import CurationJob
from curation.api.references import ConfigFrom, Frozen, InputFrom
from curation.lifecycle.decide import decide
from curation.lifecycle.outcome import Liveness
from curation.lifecycle.template import Template, template_changed
from tests.unit.lifecycle.builders import (
    NOW,
    awaiting,
    backing_off,
    claimed,
    edited,
    facts,
    finished,
    key,
    new_job,
    running,
    seconds,
    settled,
    stepped,
    stored,
    suspended,
)

REFERENCES: dict[str, Any] = {
    "inputFrom": {"configMapKeyRef": {"name": "work", "key": "input.json"}},
    "configFrom": {"configMapRef": {"name": "settings"}},
}
FIRST = Frozen(input={"message": "first"}, config={"api_url": "https://first", "region": "eu"})
SECOND = Frozen(input={"message": "second"}, config={"api_url": "https://second"})
MISSING = "ConfigMap work (spec.inputFrom.configMapKeyRef.name) does not exist in namespace default; apply it"
OTHER = InputFrom.model_validate({"configMapKeyRef": {"name": "work", "key": "other.json"}})


def referring(**spec: Any) -> CurationJob:
    return new_job(**REFERENCES, **spec)


def begun(job: CurationJob | None = None) -> CurationJob:
    """Submitted, with the first contents."""
    return claimed(job or referring(), frozen=FIRST)


def test_a_job_that_names_a_config_map_asks_for_it_to_be_read_and_writes_nothing_before() -> None:
    step = settled(referring())
    assert step.freeze


@pytest.mark.parametrize("changes", [{"module_digest": None, "module_message": "no module"}, {"slot": False}])
def test_nothing_is_read_for_a_job_that_could_not_be_claimed_anyway(changes: dict[str, Any]) -> None:
    assert not decide(referring(), facts(**changes)).freeze


def test_the_claim_freezes_what_was_read_and_the_template_digest_covers_it() -> None:
    job = begun(referring(config={"region": "us"}))
    status, run = job.status, job.status.run
    assert run is not None
    assert status.frozen == FIRST
    assert run.config == {"api_url": "https://first", "region": "us"}  # the job's own keys win
    assert run.template_digest == status.template_digest == template_digest(job.spec, FIRST)
    assert status.template_digest not in (template_digest(job.spec), template_digest(job.spec, SECOND))


def test_a_config_map_that_is_missing_keeps_the_job_queued_and_says_why_and_the_job_goes_on_once_it_is_there() -> None:
    job = stepped(referring(), frozen_problem=MISSING)
    assert (job.status.phase, job.status.reason, job.status.message) == ("Queued", "WaitingForConfigMap", MISSING)
    assert job.status.observed_generation == 1
    reconciling = {condition.type: condition for condition in job.status.conditions}["Reconciling"]
    assert (reconciling.reason, reconciling.message) == ("WaitingForConfigMap", MISSING)
    settled(job, frozen_problem=MISSING)
    assert decide(job, facts()).freeze
    assert begun(job).status.frozen == FIRST


def test_a_job_that_waits_for_its_config_map_times_out_as_any_queued_one() -> None:
    job = stepped(referring(timeouts={"queuedSeconds": 60}), frozen_problem=MISSING)
    late = stepped(job, frozen_problem=MISSING, now=NOW + seconds(61))
    assert (late.status.phase, late.status.reason) == ("Failed", "DeadlineExceeded")
    assert MISSING in late.status.message


def retried() -> CurationJob:
    return stepped(backing_off(begun()), frozen=SECOND, now=NOW + seconds(10))


def taken_over() -> CurationJob:
    return stepped(begun(), frozen=SECOND)


def approved() -> CurationJob:
    return claimed(stepped(awaiting(begun()), request_allowed=True), frozen=SECOND)


def resumed() -> CurationJob:
    return claimed(edited(suspended(begun()), suspend=False), frozen=SECOND)


@pytest.mark.parametrize("again", [retried, taken_over, approved, resumed], ids=lambda make: make.__name__)
def test_a_later_attempt_of_the_same_template_is_given_what_the_first_was(again: Any) -> None:
    job = again()
    assert job.status.run is not None
    assert job.status.run.attempt == 2
    assert job.status.frozen == FIRST
    assert job.status.run.config == FIRST.config
    assert job.status.run.template_digest == template_digest(job.spec, FIRST)


@pytest.mark.parametrize(
    "make", [begun, lambda: running(begun()), lambda: finished(begun()), lambda: awaiting(begun())]
)
def test_another_control_starts_nothing_whatever_the_config_map_holds_by_now(make: Any) -> None:
    job = make()
    after = edited(job, observe_interval_seconds=5)
    assert not template_changed(after)
    step = decide(after, facts(frozen=SECOND, liveness=Liveness.ALIVE))
    assert (step.launch, step.freeze, step.status.frozen) == (None, False, FIRST)
    assert step.status.template_digest == job.status.template_digest
    assert step.status.phase is job.status.phase


@pytest.mark.parametrize(
    "edit",
    [{"rerun": "2"}, {"input_from": OTHER}, {"config_from": None}, {"config": {"api_url": "https://third"}}],
    ids=lambda edit: next(iter(edit)),
)
@pytest.mark.parametrize("make", [lambda: running(begun()), lambda: finished(begun())], ids=["Running", "Completed"])
def test_another_template_takes_what_the_config_map_holds_by_now(make: Any, edit: dict[str, Any]) -> None:
    before = make()
    assert decide(edited(before, **edit), facts()).freeze
    job = claimed(edited(before, **edit), frozen=SECOND)
    assert job.status.run is not None
    assert (job.status.run.attempt, job.status.run.generation) == (1, 2)
    assert job.status.frozen == SECOND
    # The run that is abandoned is cancelled with what it was given.
    assert [entry.config for entry in job.status.abandoned_runs] == [FIRST.config] * len(
        before.status.abandoned_runs
    ) + ([FIRST.config] if before.status.phase == "Running" else [])


def test_an_edit_that_ends_a_run_does_so_also_while_its_config_map_is_missing() -> None:
    job = stepped(edited(running(begun()), rerun="2"), frozen_problem=MISSING)
    assert (job.status.phase, job.status.reason, job.status.frozen) == ("Queued", "WaitingForConfigMap", None)
    assert len(job.status.abandoned_runs) == 1


def test_a_template_without_references_forgets_what_was_frozen() -> None:
    job = claimed(edited(running(begun()), input_from=None, config_from=None, input={"message": "inline"}))
    assert job.status.frozen is None
    assert job.status.template_digest == template_digest(job.spec)


def test_the_fence_lets_a_run_speak_for_the_template_that_it_was_given() -> None:
    job = begun()
    assert key(job).template_digest == job.status.template_digest
    assert not template_changed(job)
    assert running(job).status.phase == "Running"


@pytest.mark.parametrize("field", REFERENCES)
def test_each_reference_counts_and_what_was_read_counts_with_it_only(field: str) -> None:
    spec = new_job(**{field: REFERENCES[field]}).spec
    assert template_digest(spec) != template_digest(new_job().spec)
    assert template_digest(spec, FIRST) != template_digest(spec)
    assert template_digest(new_job().spec, FIRST) == template_digest(new_job().spec)
    part = Frozen(input=FIRST.input) if field == "inputFrom" else Frozen(config=FIRST.config)
    assert template_digest(spec, FIRST) == template_digest(spec, part)


def test_the_digest_of_a_job_that_names_nothing_is_that_of_earlier_releases() -> None:
    spec = new_job(input={"a": 1}, config={"b": "c"}, rerun="x").spec
    assert template_digest(spec) == "v1:a198b67257969cfada3f14570b7fa1265f98c507c45455245ac9f1bfd82c9c0f"


def test_both_ways_to_give_an_input_are_refused_where_the_crd_has_let_them_through() -> None:
    both = referring(input={"message": "inline"})
    assert "spec.inputFrom and spec.input are both set" in Template.of(both.spec).problem
    assert stepped(both).status.reason == "InvalidSpec"


def test_what_is_frozen_is_read_back_as_it_was_written() -> None:
    job = begun()
    assert stored(job, job.status).status.frozen == FIRST
    assert ConfigFrom.model_validate(REFERENCES["configFrom"]).to_wire() == REFERENCES["configFrom"]
