"""Each guard of the fence is needed: with it the scenario comes to a good end, without it an invariant breaks.

| guard | what breaks without it |
|---|---|
| the run id check | a late failure of attempt 1 fails attempt 2 |
| the template check | an outcome of the old template is applied under the new one |
| the uid check | an outcome is applied to another object of the same name |
| the resourceVersion condition | a write lands on a version that it was not computed from |
| claim before launch | a run is executed that no status names |
| finalizer before claim | a session that nobody knows of outlives its job |
| the holder rule | two operators take each other's runs for ever |
| the death of an execution | after an edit and its reversal, the superseded run goes on calling |
| the forward-only cache | a good completion is dropped on an older version |
| the cancel of a dropped session | an orphan session lives on |
"""

from collections.abc import Callable

import pytest

from curation.api.names import FailureClass
from tests.models.executions import Behaviour
from tests.models.invariants import Violation
from tests.models.world import World
from tests.unit.lifecycle.disabled_guards import (
    Disable,
    without_cancel_of_dropped,
    without_check,
    without_claim_before_launch,
    without_conditioned_writes,
    without_death,
    without_finalizer_first,
    without_forward_only,
    without_holder_rule,
)

Scenario = Callable[[World], None]


def _run(disable: Disable, scenario: Scenario, breaks: str) -> None:
    """Run the scenario with all guards, and without this one: that must violate the invariant `breaks`."""
    scenario(World())
    with pytest.MonkeyPatch.context() as patch:
        disable(patch)
        with pytest.raises(Violation, match=breaks):
            scenario(World())


def test_the_run_id_check_keeps_a_late_failure_from_a_newer_attempt() -> None:
    def scenario(world: World) -> None:
        world.create()
        world.behaviours = [Behaviour(end=FailureClass.TRAP)]
        slow = world.start("slow")
        slow.until_launched()
        slow.until("submit", "on the wire")
        other = world.start("other")  # finds a run in flight, and takes over
        other.reconcile()
        world.carry_out()
        slow.until("submit", "on the wire")
        world.carry_out()
        slow.until("submit")  # has failed, and has not seen attempt 2
        slow.settle()
        world.drain()
        assert world.checker.rulings == [("uid-1.g1.a1", "stale"), ("uid-1.g1.a2", "applied")]

    _run(without_check("Superseded"), scenario, "a stale completion of uid-1.g1.a1 was applied")


def test_the_template_check_keeps_an_old_outcome_from_a_new_template() -> None:
    def scenario(world: World) -> None:
        world.create("A")
        process = world.start()
        process.until_ended()
        world.edit_template("B")  # between the run's end and the write of its outcome
        process.settle()
        world.drain()
        assert world.checker.rulings == [("uid-1.g1.a1", "stale"), ("uid-1.g2.a1", "applied")]

    _run(without_check("TemplateChanged"), scenario, "a stale completion of uid-1.g1.a1 was applied")


def test_the_uid_check_keeps_an_outcome_from_another_object_of_the_same_name() -> None:
    def scenario(world: World) -> None:
        world.create()
        process = world.start()
        process.until_ended()
        world.delete()
        world.strip_finalizers()
        # A backup is restored, status and all (Velero can): the status names a run of the object that is gone.
        world.create()
        restored = process.known
        assert restored is not None
        world.api.patch("job", {"status": restored["status"]}, "status")
        process.settle()
        assert dict(world.checker.rulings) == {"uid-1.g1.a1": "gone"}
        assert process.busy("orphan")
        process.until("orphan")
        assert world.service.live("uid-1") == set()

    _run(without_check("Recreated"), scenario, "a stale completion of uid-1.g1.a1 was applied")


def test_the_resource_version_condition_keeps_a_write_from_a_version_it_was_not_computed_from() -> None:
    def scenario(world: World) -> None:
        world.create("A")
        process = world.start()
        process.until_ended()
        process.reconcile("about to write")
        world.edit_template("B")  # between the check and the write
        process.settle()
        world.drain()
        assert world.checker.rulings == [("uid-1.g1.a1", "stale"), ("uid-1.g2.a1", "applied")]

    _run(without_conditioned_writes, scenario, "I4")


def test_claim_before_launch_leaves_no_session_that_nobody_knows_of() -> None:
    def scenario(world: World) -> None:
        world.create()
        process = world.start()
        process.reconcile()  # the finalizer
        process.reconcile("about to write")
        assert not process.busy("submit")
        world.crash(process)
        world.delete()
        world.drain()
        assert world.job() is None

    _run(without_claim_before_launch, scenario, "is executed, and no status names it")


def test_the_finalizer_before_the_claim_lets_no_deletion_outrun_the_cleaning() -> None:
    def scenario(world: World) -> None:
        world.create()
        process = world.start()
        process.until_launched()
        process.until("submit", "on the wire")
        world.carry_out()
        world.crash(process)
        world.delete()
        world.drain()
        assert world.job() is None
        assert world.service.states

    _run(without_finalizer_first, scenario, "I8")


def test_the_holder_rule_keeps_two_operators_from_chasing_each_other() -> None:
    def scenario(world: World) -> None:
        world.create()
        first, second = world.start("first"), world.start("second")
        first.until_launched()
        while second.deliver():
            pass
        world.drain()
        job = world.job()
        assert job is not None
        assert job.status.run is not None
        if job.status.run.attempt > 1:
            raise Violation("a run was taken from a holder that is alive")

    _run(without_holder_rule, scenario, "taken from a holder|never comes to rest")


def test_the_death_of_an_execution_outlasts_an_edit_and_its_reversal() -> None:
    def scenario(world: World) -> None:
        world.create("A")
        process = world.start()
        process.until_launched()
        process.until("submit", "on the wire")
        world.edit_template("B")
        world.edit_template("A")
        while process.deliver():  # both changes are received while the request is on the wire
            pass
        world.carry_out()
        world.drain()
        job = world.job()
        assert job is not None
        assert job.status.run is not None
        assert job.status.phase == "Running"
        assert job.status.run.id == "uid-1.g1.a2"  # the template is the same again, the run is not

    _run(without_death, scenario, "I5")


def test_a_cache_that_only_moves_forward_drops_no_good_completion() -> None:
    def scenario(world: World) -> None:
        world.create()
        process = world.start()
        process.until_launched()
        process.until("submit", "on the wire")
        process.deliver(0)  # the watch is late: this version is older than the claim
        world.drain()
        assert world.checker.rulings == [("uid-1.g1.a1", "applied")]

    _run(without_forward_only, scenario, "a good completion of uid-1.g1.a1 was dropped")


def test_the_cancel_of_a_dropped_session_leaves_no_orphan() -> None:
    def scenario(world: World) -> None:
        world.create()
        process = world.start()
        process.until_ended()
        world.delete()
        world.strip_finalizers()  # someone would not wait: nothing on the API server names the run any more
        world.drain()
        assert dict(world.checker.rulings) == {"uid-1.g1.a1": "gone"}

    _run(without_cancel_of_dropped, scenario, "I8")
