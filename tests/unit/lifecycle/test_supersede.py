"""Whatever supersedes a run: a changed template, suspension, the end of its holder, deletion. And what does not."""

from collections.abc import Callable
from typing import Any

import pytest

from curation.api.job import CurationJob, ModuleReference, Observe, OnDenied, Retry, Timeouts
from curation.api.names import FailureClass, Trigger
from curation.lifecycle.decide import decide, runs_to_clean
from curation.lifecycle.outcome import Completed, Liveness
from curation.lifecycle.step import Step
from tests.unit.lifecycle.builders import (
    HERE,
    IN_EVERY_PHASE,
    NOW,
    THERE,
    UID,
    awaiting,
    backing_off,
    claimed,
    completed,
    deleted,
    edited,
    facts,
    failed,
    failed_job,
    finished,
    new_job,
    running,
    seconds,
    settled,
    stepped,
    stored,
    suspended,
    waiting,
)

Make = Callable[[], CurationJob]
SEEN = {name: make for name, make in IN_EVERY_PHASE.items() if name != "new"}

TEMPLATE_EDITS: dict[str, dict[str, Any]] = {
    "moduleRef": {"module_ref": ModuleReference(name="other")},
    "input": {"input": {"x": 1}},
    "config": {"config": {"x": "1"}},
    "rerun": {"rerun": "1"},
}
CONTROL_EDITS: dict[str, dict[str, Any]] = {
    "onDenied": {"on_denied": OnDenied.FAIL},
    "retry": {"retry": Retry(limit=0)},
    "timeouts": {"timeouts": Timeouts(submitted_seconds=901, queued_seconds=900, approval_seconds=900)},
    "observe": {"observe": Observe(interval_seconds=11)},
    "observeIntervalSeconds": {"observe_interval_seconds": 11},
    "ttlSecondsAfterFinished": {"ttl_seconds_after_finished": 100},
}


@pytest.mark.parametrize("edit", TEMPLATE_EDITS.values(), ids=TEMPLATE_EDITS)
@pytest.mark.parametrize("make", SEEN.values(), ids=SEEN)
def test_a_changed_template_is_claimed_at_once_in_every_phase(make: Make, edit: dict[str, Any]) -> None:
    before = edited(make(), **edit, suspend=False)
    job = claimed(before)
    run = job.status.run
    assert run is not None
    generation = before.metadata.generation
    assert run.id == f"{UID}.g{generation}.a1"
    assert (run.attempt, run.retries) == (1, 0)
    assert (job.status.observed_generation, job.status.template_generation) == (generation, generation)
    assert job.status.template_digest == run.template_digest
    assert (job.status.session, job.status.approval, job.status.output) == (None, None, None)
    old = before.status
    if old.phase in ("Submitted", "Running"):
        assert old.run is not None
        (entry,) = job.status.abandoned_runs
        assert entry.id == old.run.id
        assert (entry.session.id if entry.session else None) == ("s1" if old.phase == "Running" else None)
        assert (job.status.history[-1].id, job.status.history[-1].outcome) == (old.run.id, "Superseded")
    else:
        assert job.status.abandoned_runs == old.abandoned_runs


@pytest.mark.parametrize("make", SEEN.values(), ids=SEEN)
def test_a_changed_template_that_cannot_be_claimed_ends_the_old_run_at_once(make: Make) -> None:
    before = edited(make(), rerun="1", suspend=False)
    job = stepped(before, slot=False)
    assert (job.status.phase, job.status.reason) == ("Queued", "WaitingForSlot")
    assert job.status.observed_generation == before.metadata.generation
    assert (job.status.approval, job.status.retry_at) == (None, None)
    in_flight = before.status.phase in ("Submitted", "Running")
    assert len(job.status.abandoned_runs) == len(before.status.abandoned_runs) + in_flight
    assert job.status.session is None or not in_flight
    run = claimed(job).status.run
    assert run is not None
    assert run.attempt == 1


@pytest.mark.parametrize("edit", CONTROL_EDITS.values(), ids=CONTROL_EDITS)
@pytest.mark.parametrize("make", SEEN.values(), ids=SEEN)
def test_a_control_edit_only_advances_observed_generation_in_one_write(make: Make, edit: dict[str, Any]) -> None:
    before = edited(make(), **edit)
    here = {"liveness": Liveness.ALIVE, "module_digest": None, "module_message": before.status.message}
    step = decide(before, facts(**here))
    assert step.launch is None
    assert step.status.observed_generation == before.metadata.generation
    assert {c.observed_generation for c in step.status.conditions} == {before.metadata.generation}
    same = {"observed_generation": 0, "conditions": ()}
    assert step.status.model_copy(update=same) == before.status.model_copy(update=same)
    settled(stored(before, step.status), **here)


def test_a_new_run_shows_nothing_of_the_session_that_completed_before_it() -> None:
    done = completed(running(), Completed({"answer": 42}), Trigger.OBSERVE)
    assert done.status.session is not None  # for people to look at
    job = claimed(edited(done, rerun="1"))
    assert (job.status.session, job.status.output, job.status.abandoned_runs) == (None, None, ())


def test_an_edit_and_its_reversal_that_were_both_acted_on_are_a_new_run() -> None:
    job = claimed()
    there = stepped(edited(job, rerun="1"), module_digest=None, module_message="not there")
    back = claimed(edited(there, rerun=""))
    assert back.status.run is not None
    assert back.status.run.id == f"{UID}.g3.a1"
    assert back.status.template_digest == job.status.template_digest


def test_an_edit_and_its_reversal_that_no_one_acted_on_are_none() -> None:
    job = edited(edited(claimed(), rerun="1"), rerun="")
    step = decide(job, facts(liveness=Liveness.ALIVE))
    assert step.launch is None
    assert step.status.run == job.status.run
    assert step.status.observed_generation == 3


def test_a_control_edit_before_the_claim_moves_the_run_to_the_generation_of_the_claim() -> None:
    job = claimed(edited(waiting(), observe_interval_seconds=5))
    run = job.status.run
    assert run is not None
    assert (run.generation, job.status.template_generation) == (2, 1)
    again = claimed(backing_off(job), now=NOW + seconds(10))
    assert again.status.run is not None
    assert again.status.run.id == f"{UID}.g2.a2"  # the run's own generation goes on, not the job's


def test_a_digest_that_differs_at_an_unchanged_generation_is_only_recorded() -> None:
    for make in SEEN.values():
        job = make()
        older = stored(job, job.status.model_copy(update={"template_digest": "v0:by-an-older-release"}))
        here = {"liveness": Liveness.ALIVE, "module_digest": None, "module_message": job.status.message}
        step = decide(older, facts(**here))
        assert step.launch is None
        assert step.status == job.status
        settled(stored(older, step.status), **here)


# -- suspend -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", IN_EVERY_PHASE.values(), ids=IN_EVERY_PHASE)
def test_suspension_queues_what_has_not_finished_and_abandons_its_run(make: Make) -> None:
    before = edited(make(), suspend=True)
    step = decide(before, facts(liveness=Liveness.ALIVE))
    status, old = step.status, before.status
    assert step.launch is None
    assert status.observed_generation == before.metadata.generation
    if old.phase is not None and old.phase.terminal:
        assert (status.phase, status.reason, status.output) == (old.phase, old.reason, old.output)
        return
    assert (status.phase, status.reason) == ("Queued", "Suspended")
    assert (status.session, status.approval, status.retry_at) == (None, None, None)
    if old.phase in ("Submitted", "Running"):
        assert old.run is not None
        assert [entry.id for entry in status.abandoned_runs] == [old.run.id]
        assert (status.history[-1].outcome, status.history[-1].reason) == ("Abandoned", "Suspended")
    settled(stored(before, status))


def test_the_session_of_a_suspended_job_is_known_to_its_cleaning() -> None:
    job = suspended(running())
    (entry,) = job.status.abandoned_runs
    assert entry.session is not None
    assert (entry.session.id, entry.session.url) == ("s1", "https://s/s1")


@pytest.mark.parametrize("make", [waiting, claimed, awaiting, running, backing_off], ids=lambda make: make.__name__)
def test_resuming_claims_the_next_attempt(make: Make) -> None:
    was = make()
    attempts = was.status.run.attempt if was.status.run is not None else 0
    job = claimed(edited(suspended(was), suspend=False))
    assert job.status.run is not None
    assert job.status.run.attempt == attempts + 1
    assert job.status.run.retries == 0


@pytest.mark.parametrize("make", [finished, failed_job], ids=lambda make: make.__name__)
def test_suspending_and_resuming_a_finished_job_changes_nothing(make: Make) -> None:
    job = make()
    there = stepped(edited(job, suspend=True))
    back = stepped(edited(there, suspend=False))
    assert (back.status.phase, back.status.run) == (job.status.phase, job.status.run)


def test_a_resumed_job_that_waits_for_a_slot_is_not_shown_as_suspended() -> None:
    job = stepped(edited(suspended(), suspend=False), slot=False)
    assert (job.status.phase, job.status.reason) == ("Queued", "WaitingForSlot")


def test_a_template_change_of_a_suspended_job_waits_for_its_resumption() -> None:
    job = stepped(edited(suspended(running()), rerun="1"))
    assert (job.status.phase, job.status.reason) == ("Queued", "Suspended")
    job = claimed(edited(job, suspend=False))
    assert job.status.run is not None
    assert job.status.run.attempt == 1
    assert job.status.run.generation == job.metadata.generation


# -- holders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("liveness", "taken"), [(Liveness.ALIVE, False), (Liveness.UNKNOWN, False), (Liveness.GONE, True)]
)
@pytest.mark.parametrize("holder", [HERE, THERE])
def test_a_submitted_run_is_replaced_only_if_it_is_known_to_be_gone(
    holder: str, liveness: Liveness, taken: bool
) -> None:
    job = claimed(holder=holder)
    step = decide(job, facts(liveness=liveness))
    assert (step.launch is not None) is taken
    if not taken:
        assert step.status == job.status
        return
    old, new = job.status.run, step.launch
    assert old is not None
    assert new is not None
    assert (step.status.phase, step.status.reason) == ("Submitted", "Resubmitted")
    assert (new.attempt, new.retries, new.holder) == (2, 0, HERE)
    assert [entry.id for entry in step.status.abandoned_runs] == [old.id]  # in one write
    assert (step.status.history[-1].id, step.status.history[-1].outcome) == (old.id, "Abandoned")


@pytest.mark.parametrize("make", [running, awaiting, backing_off, finished], ids=lambda make: make.__name__)
def test_a_job_that_is_not_submitted_needs_no_holder(make: Make) -> None:
    settled(make(), liveness=Liveness.GONE)


def test_a_run_that_is_replaced_while_no_slot_is_free_is_abandoned_all_the_same() -> None:
    job = stepped(claimed(), slot=False)
    assert (job.status.phase, job.status.reason) == ("Queued", "WaitingForSlot")
    assert len(job.status.abandoned_runs) == 1


# -- deletion ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", IN_EVERY_PHASE.values(), ids=IN_EVERY_PHASE)
def test_a_deleted_job_keeps_its_finalizer_until_its_runs_are_cleaned(make: Make) -> None:
    job = deleted(make())
    to_clean = frozenset(runs_to_clean(job))
    run = job.status.run
    if job.status.phase in ("Submitted", "Running"):
        assert run is not None
        assert run.id in to_clean
    if to_clean:
        step = decide(job, facts())
        assert not step.remove_finalizer
    step = decide(job, facts(cleaned=to_clean))
    assert step.remove_finalizer
    assert step.status == job.status
    assert (step.launch, step.add_finalizer, step.delete) == (None, False, False)


def test_a_deleted_job_without_our_finalizer_is_left_alone() -> None:
    step = decide(deleted(new_job(finalizer=False)), facts())
    assert (step.add_finalizer, step.remove_finalizer) == (False, False)


@pytest.mark.parametrize("make", IN_EVERY_PHASE.values(), ids=IN_EVERY_PHASE)
def test_a_deleted_job_that_only_anothers_finalizer_keeps_is_not_cleaned_again(make: Make) -> None:
    """Ours went when its runs were cleaned, or given up: a process that starts now has nothing to do for it."""
    job = deleted(make())
    released = job.model_copy(update={"metadata": job.metadata.model_copy(update={"finalizers": ("another",)})})
    assert runs_to_clean(released) == ()
    assert decide(released, facts()) == Step(released.status)


def test_a_finished_job_whose_finalizer_was_removed_gets_it_back_only_for_a_new_run() -> None:
    def stripped(job: CurationJob) -> CurationJob:
        return job.model_copy(update={"metadata": job.metadata.model_copy(update={"finalizers": ()})})

    settled(stripped(finished()))
    assert decide(stripped(edited(finished(), rerun="1")), facts()).add_finalizer
    assert decide(stripped(completed(claimed(), failed(FailureClass.TRAP))), facts()).add_finalizer  # a run to clean


# -- clean-up ----------------------------------------------------------------------------------------------------------


def test_a_cleaned_run_leaves_the_list_in_one_write() -> None:
    job = failed_job()
    (entry,) = job.status.abandoned_runs
    after = stepped(job, cleaned=frozenset({entry.id, "another"}))
    assert after.status.abandoned_runs == ()
    assert after.status.phase == "Failed"
    settled(after, cleaned=frozenset({entry.id}))
