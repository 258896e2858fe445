"""What becomes of an outcome whose write goes wrong: the real `Completion` in the model of one job."""

from datetime import timedelta

import pytest

from curation.api.names import FailureClass
from tests.models.executions import Behaviour
from tests.models.process import Process
from tests.models.sessions import State
from tests.models.world import Fault, World

RUN = "uid-1.g1.a1"
FAULTS: list[Fault] = ["lost answer", "lost request", "refused"]


def ended(world: World) -> Process:
    """A run has ended, and the write of its outcome is about to leave."""
    world.create()
    process = world.start()
    process.until_ended()
    process.reconcile("about to write")
    return process


@pytest.mark.parametrize("fault", FAULTS)
def test_a_session_whose_write_goes_wrong_is_applied_all_the_same_and_once(fault: Fault) -> None:
    world = World()
    process = ended(world)
    world.fault = fault
    process.settle()
    assert world.checker.rulings == [(RUN, "applied")]
    world.drain()
    assert list(world.service.states.values()) == [State.LIVE]
    assert world.checker.launched == {RUN}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_whose_write_goes_wrong_costs_one_attempt(fault: Fault) -> None:
    world = World(behaviours=[Behaviour(end=FailureClass.HTTP_UNAVAILABLE)])
    process = ended(world)
    world.fault = fault
    process.settle()
    assert world.checker.rulings == [(RUN, "applied")]
    world.drain()
    assert world.checker.launched == {RUN, "uid-1.g1.a2"}


@pytest.mark.parametrize("fault", [*FAULTS, None])
def test_a_write_that_goes_wrong_after_an_edit_of_the_template_is_dropped_and_its_session_cancelled(
    fault: Fault | None,
) -> None:
    world = World()
    process = ended(world)
    world.edit_template("B")
    world.fault = fault
    process.settle()
    assert world.checker.rulings == [(RUN, "stale")]
    world.drain()
    assert list(world.service.states.values()) == [State.CANCELLED, State.LIVE]


@pytest.mark.parametrize("fault", [*FAULTS, None])
def test_a_label_that_comes_in_between_costs_a_run_nothing(fault: Fault | None) -> None:
    world = World()
    process = ended(world)
    world.label()
    world.fault = fault
    process.settle()
    assert world.checker.rulings == [(RUN, "applied")]
    world.drain()
    assert list(world.service.states.values()) == [State.LIVE]


def test_a_failure_whose_answer_is_lost_counts_as_applied_when_another_operator_has_gone_on_from_it() -> None:
    world = World(behaviours=[Behaviour(end=FailureClass.HTTP_UNAVAILABLE)])
    slow = ended(world)
    world.fault = "lost answer"
    slow.reconcile("written")
    world.now += timedelta(hours=1)  # the retry is due
    world.start("other").until_launched()
    slow.settle()
    assert world.checker.rulings == [(RUN, "applied")]
    world.drain()
    assert world.checker.launched == {RUN, "uid-1.g1.a2"}
