"""What counts as the template, when it has changed, and a spec that cannot be run."""

import gc
import json
from collections.abc import Callable
from typing import Any

import pytest

from curation.api.digest import template_digest
from curation.api.job import MAX_INPUT_BYTES, CurationJob, JobSpec
from curation.api.references import Frozen
from curation.cluster.cache import Stored
from curation.lifecycle import template
from curation.lifecycle.decide import decide
from curation.lifecycle.outcome import Liveness
from curation.lifecycle.template import Template, template_changed, template_of
from tests.unit.lifecycle.builders import (
    IN_EVERY_PHASE,
    awaiting,
    claimed,
    edited,
    facts,
    finished,
    new_job,
    running,
    settled,
    stepped,
    stored,
    waiting,
)

SAFE = 2**53 - 1
TOO_LARGE = {"text": "x" * MAX_INPUT_BYTES}
INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "too large": (TOO_LARGE, str(MAX_INPUT_BYTES)),
    "beyond I-JSON": ({"number": SAFE + 1}, "number"),
    "below I-JSON": ({"deep": [{"number": -SAFE - 1}]}, "number"),
}


def spec(**fields: Any) -> JobSpec:
    return JobSpec.model_validate({"moduleRef": {"name": "module"}, **fields})


def test_a_template_field_at_its_default_does_not_count() -> None:
    assert template_digest(spec()) == template_digest(spec(input={}, config={}, rerun=""))


def test_a_control_does_not_count() -> None:
    controls = spec(
        suspend=True, onDenied="Fail", retry={"limit": 0}, timeouts={"queuedSeconds": 1}, observeIntervalSeconds=1
    )
    assert template_digest(controls) == template_digest(spec())


@pytest.mark.parametrize(
    "fields", [{"input": {"x": 1}}, {"config": {"x": "1"}}, {"rerun": "1"}, {"moduleRef": {"name": "other"}}]
)
def test_each_template_field_counts(fields: dict[str, Any]) -> None:
    assert template_digest(spec(**fields)) != template_digest(spec())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}),
        ({"a": 1}, {"a": 1, "b": None}),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": None}]}),
        ({"a": 1.0}, {"a": 1}),
    ],
    ids=["order", "null", "null in a list", "the same number"],
)
def test_two_ways_to_write_the_same_input_are_the_same_template(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert template_digest(spec(input=one)) == template_digest(spec(input=other))


@pytest.mark.parametrize(
    ("one", "other"), [({"a": [None]}, {"a": []}), ({"a": "1"}, {"a": 1}), ({"a": True}, {"a": 1})]
)
def test_two_inputs_that_differ_are_two_templates(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert template_digest(spec(input=one)) != template_digest(spec(input=other))


def test_a_new_job_has_a_changed_template() -> None:
    assert template_changed(new_job())


def test_a_template_has_changed_iff_the_generation_is_unseen_and_the_digest_differs() -> None:
    job = claimed()
    assert not template_changed(job)
    assert not template_changed(edited(job, observe_interval_seconds=5))
    assert template_changed(edited(job, rerun="1"))
    other = job.status.model_copy(update={"template_digest": "v0:by-an-older-release"})
    assert not template_changed(stored(job, other))


def test_a_field_that_a_newer_release_defaults_causes_no_run_and_no_write() -> None:
    """The API server shows the default in old objects at an unchanged generation."""
    for make in IN_EVERY_PHASE.values():
        job = make()
        document = job.model_dump(mode="json", by_alias=True, exclude_none=True)
        document["spec"]["isolation"] = "Process"
        document["spec"]["retry"]["multiplier"] = 2
        seen = CurationJob.model_validate(document)
        here = {"liveness": Liveness.ALIVE, "slot": False, "module_digest": None, "module_message": job.status.message}
        if job.status.phase is not None:
            settled(seen, **here)
        assert template_digest(seen.spec) == template_digest(job.spec)


# -- InvalidSpec -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("document", "says"), INVALID.values(), ids=INVALID)
@pytest.mark.parametrize(
    "make", [new_job, waiting, claimed, awaiting, running, finished], ids=lambda make: make.__name__
)
def test_an_input_that_admission_could_not_refuse_fails_the_job_and_names_the_field(
    make: Callable[[], CurationJob], document: dict[str, Any], says: str
) -> None:
    before = make()
    job = stepped(new_job(input=document) if before.status.phase is None else edited(before, input=document))
    status = job.status
    assert (status.phase, status.reason) == ("Failed", "InvalidSpec")
    assert "spec.input" in status.message
    assert says in status.message
    assert status.observed_generation == job.metadata.generation
    in_flight = before.status.phase in ("Submitted", "Running")
    assert len(status.abandoned_runs) == len(before.status.abandoned_runs) + in_flight
    settled(job)
    mended = claimed(edited(job, input={}))
    assert mended.status.run is not None
    assert mended.status.run.attempt == 1


def test_an_invalid_spec_fails_even_while_suspended_or_without_a_module() -> None:
    job = stepped(new_job(input=TOO_LARGE, suspend=True), module_digest=None)
    assert job.status.reason == "InvalidSpec"


def test_an_input_of_just_the_allowed_size_is_run() -> None:
    padding = MAX_INPUT_BYTES - len('{"text":""}')
    assert Template.of(spec(input={"text": "x" * padding})).problem == ""
    assert Template.of(spec(input={"text": "x" * (padding + 1)})).problem
    assert Template.of(spec(input={"text": "é" * (padding // 2 + 1)})).problem  # bytes, not characters


def test_nulls_do_not_count_against_the_size() -> None:
    assert Template.of(spec(input={f"key{number}": None for number in range(20_000)})).problem == ""


def test_the_largest_exact_numbers_are_fine() -> None:
    assert Template.of(spec(input={"a": SAFE, "b": -SAFE, "c": 0.1, "d": 1e300})).problem == ""


def test_a_control_edit_does_not_fail_an_invalid_job_anew() -> None:
    job = stepped(edited(claimed(), input=TOO_LARGE))
    step = decide(edited(job, observe_interval_seconds=5), facts())
    assert step.status.phase_since == job.status.phase_since
    assert step.status.observed_generation == 3


def nested(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(levels - 1):
        document = {"a": document}
    return document


def test_an_input_that_no_parser_could_keep_is_refused_by_name_and_the_job_stays_readable() -> None:
    for levels in (65, 300, 900):
        body = json.dumps({"metadata": {}, "spec": {"moduleRef": {"name": "m"}, "input": nested(levels)}})
        kept = Stored("ns", "job", "uid", 1, 1, body.encode())
        assert "spec.input is nested deeper than 64 levels" in Template.of(kept.parse(CurationJob).spec).problem
    assert Template.of(spec(input=nested(64))).problem == ""


def test_the_template_is_remembered_by_the_very_spec_and_not_carried_to_a_copy() -> None:
    one = new_job(input={"a": 1})
    assert template_of(one) is template_of(one)
    other = one.model_copy(update={"spec": one.spec.model_copy(update={"rerun": "again"})})
    assert template_of(other).digest == template_digest(other.spec) != template_of(one).digest


def test_a_template_is_forgotten_with_its_spec() -> None:
    gc.collect()  # of what other tests have left
    before = len(template._known)
    job = new_job(input={"forgotten": True})
    template_of(job)
    assert len(template._known) == before + 1
    del job
    gc.collect()
    assert len(template._known) == before


def test_no_digest_is_made_where_the_generation_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[JobSpec] = []
    jobs = [make() for make in IN_EVERY_PHASE.values()]

    def digest(spec: JobSpec, frozen: Frozen | None = None) -> str:
        made.append(spec)
        return template_digest(spec, frozen)

    monkeypatch.setattr(template, "template_digest", digest)
    for job in jobs:
        if job.status.phase is not None:
            decide(job, facts())
            assert not template_changed(job)
    assert not made
    decide(edited(jobs[-1], rerun="x"), facts())
    assert made


def test_a_digest_of_an_older_form_is_recorded_anew_without_a_run() -> None:
    job = running()
    older = stored(job, job.status.model_copy(update={"template_digest": "v0:by-an-older-release"}))
    step = decide(older, facts(liveness=Liveness.ALIVE))
    assert step.launch is None
    assert step.status.template_digest == template_digest(job.spec)
