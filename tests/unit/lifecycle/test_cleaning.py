"""What becomes of the sessions of runs that were replaced or deleted: the real `Cleanup` in the model of one job."""

import pytest

from tests.models.process import Process
from tests.models.sessions import SessionService, State
from tests.models.world import World


def on_the_wire(world: World) -> Process:
    """A run's request for a session is on the wire."""
    world.create()
    process = world.start()
    process.until_launched()
    process.until("submit", "on the wire")
    return process


@pytest.mark.parametrize("tombstones", [True, False], ids=["tombstones", "no tombstones"])
def test_what_a_service_does_for_a_dead_process_after_the_first_cancel_is_undone(tombstones: bool) -> None:
    world = World(service=SessionService(tombstones=tombstones))
    world.crash(on_the_wire(world))
    process = world.start()
    while process.work():
        pass
    world.carry_out(world.wire[0])  # the dead run's, whose first Cancel has found nothing
    world.drain()
    dead = [] if tombstones else [State.CANCELLED]
    assert list(world.service.states.values()) == [*dead, State.LIVE]


def test_a_cancel_that_fails_is_repeated() -> None:
    world = World()
    process = on_the_wire(world)
    world.edit_template("B")
    world.cancel_fails = True
    world.carry_out()
    while process.work():
        pass
    assert not world.cancel_fails
    assert world.service.states["session-1"] is State.LIVE
    world.drain()
    assert list(world.service.states.values()) == [State.CANCELLED, State.LIVE]
    assert not world.checker.given_up


def test_a_process_that_dies_after_a_cancel_leaves_the_entry_to_the_next() -> None:
    world = World()
    world.create()
    process = world.start()
    process.until_ended()
    process.settle()
    world.edit(rerun="1")
    while not process.busy("clean"):
        process.deliver()
        process.reconcile()
    process.until("clean", "cancelled")
    world.crash(process)
    job = world.job()
    assert job is not None
    assert [entry.id for entry in job.status.abandoned_runs] == ["uid-1.g1.a1"]
    world.drain()
    assert list(world.service.states.values()) == [State.CANCELLED, State.LIVE]


def test_a_job_that_was_deleted_while_its_operator_was_dead_goes_when_its_session_is_cancelled() -> None:
    world = World()
    world.crash(on_the_wire(world))
    world.carry_out()
    world.delete()
    assert world.job() is not None
    world.drain()
    assert world.job() is None
    assert list(world.service.states.values()) == [State.CANCELLED]


def test_the_session_of_a_run_whose_job_is_gone_is_cancelled_although_the_first_cancel_fails() -> None:
    world = World()
    world.create()
    process = world.start()
    process.until_ended()
    world.strip_finalizers()
    world.delete()
    assert world.job() is None
    world.cancel_fails = True
    process.settle()
    process.until("orphan", "waits")
    assert list(world.service.states.values()) == [State.LIVE]
    world.drain()
    assert list(world.service.states.values()) == [State.CANCELLED]
