"""Who is admitted to the workers' memory, and who waits for it: no process, no clock."""

import itertools

import pytest

from curation.api.names import Trigger
from curation.wasm.limits import Limits
from curation.workers.account import MemoryAccount
from curation.workers.need import (
    BESIDE_BYTES,
    RESPONSE_COPIES,
    RUN_BYTES,
    TEMPLATE_BYTES,
    WORKER_BYTES,
    Need,
    capacity,
)

MIB = 1 << 20
SUBMIT, OBSERVE, CANCEL = Trigger.SUBMIT, Trigger.OBSERVE, Trigger.CANCEL


class World:
    """An account, and those who have asked it; names of tickets are made here."""

    def __init__(self, mib: int | None, *, known: bool = True) -> None:
        self.account = MemoryAccount(None if mib is None else mib * MIB, known=known)
        self.called: list[str] = []
        self.ended: list[str] = []
        self.account.end_idle = self.end_idle
        self._numbers = itertools.count()

    def ask(self, namespace: str, mib: int, trigger: Trigger = SUBMIT, digest: str = "", artifact: int = 0) -> str:
        """Its ticket, whether it was admitted or not."""
        ticket = f"{namespace}-{trigger}-{next(self._numbers)}"
        self.take(ticket, namespace, mib, trigger, digest, artifact)
        return ticket

    def take(
        self, ticket: str, namespace: str, mib: int, trigger: Trigger = SUBMIT, digest: str = "", artifact: int = 0
    ) -> bool:
        need = Need(mib * MIB, digest, artifact * MIB)
        return self.account.take(ticket, namespace, trigger, need, lambda: self.called.append(ticket))

    def end_idle(self, namespace: str) -> bool:
        """Whoever has the workers does so."""
        self.ended.append(namespace)
        return True

    def waits(self, ticket: str) -> bool:
        return bool(self.account.why(ticket))

    @property
    def used(self) -> int:
        """MiB, without the workers."""
        return self.account.used // MIB


BASE = WORKER_BYTES // MIB


def flood(world: World, namespace: str, mib: int, trigger: Trigger = SUBMIT, most: int = 1000) -> list[str]:
    """Those that are admitted, until one waits."""
    asked: list[str] = []
    for _ in range(most):
        ticket = world.ask(namespace, mib, trigger)
        if world.waits(ticket):
            return asked
        asked.append(ticket)
    raise AssertionError("it is never enough")


def test_a_need_is_the_memory_of_the_guest_its_answers_and_its_module_which_counts_once_in_a_namespace() -> None:
    limits = Limits(memory=64 * MIB, response_size=2 * MIB)
    need = Need.of(limits, "sha256:a", 5 * MIB)
    assert need.run_bytes == 64 * MIB + RESPONSE_COPIES * 2 * MIB + RUN_BYTES
    world = World(4096)
    for each in ("one", "two"):
        assert world.take(each, "demo", 10, digest="sha256:a", artifact=5)
    assert world.used == BASE + 2 * 10 + 5
    world.account.release("one")
    assert world.used == BASE + 10 + 5
    world.account.release("two")
    assert world.used == 0


def test_a_namespace_takes_a_quarter_and_the_rest_waits_and_is_called_as_its_own_runs_end() -> None:
    world = World(1024)
    admitted = flood(world, "a", 50)
    assert len(admitted) == (256 - BASE) // 50
    waiting = world.ask("a", 50)
    assert "the runs of its namespace have what one may take (256Mi)" in world.account.why(waiting)
    world.account.release(admitted[0])
    assert len(world.called) == 1  # the first that waited, which flood has left in the line
    assert world.waits(waiting)
    world.account.leave(world.called[0])
    assert world.called[1:] == [waiting]
    assert world.take(waiting, "a", 50)


def test_however_many_namespaces_flood_one_that_comes_later_finds_room() -> None:
    world = World(4096)
    for number in range(6):
        flood(world, f"a{number}", 10)
    assert not world.waits(world.ask("late", 10))


def test_waiting_is_fair_between_namespaces_and_first_come_first_served_within_one() -> None:
    world = World(1024)
    held = [world.ask(f"h{number}", 188 - BASE) for number in range(4)]  # three quarters, but for a little
    a = [world.ask("a", 160 - BASE) for _ in range(3)]
    b = world.ask("b", 160 - BASE)
    assert all(map(world.waits, (*a, b)))
    assert "other runs have all there is of it (1024Mi)" in world.account.why(b)
    for each in held[:2]:
        world.account.release(each)
    assert world.called == [a[0], b]


def test_runs_never_keep_an_observation_or_a_cancel_waiting_nor_do_observations_keep_a_cancel() -> None:
    world = World(1024)
    for number in range(8):
        flood(world, f"a{number}", 20)
    for number in range(8):
        assert not world.waits(world.ask(f"a{number}", 20, OBSERVE) if number == 0 else world.ask("a0", 5, CANCEL))
    for number in range(8):
        flood(world, f"a{number}", 20, OBSERVE)
    assert not world.waits(world.ask("a1", 20, CANCEL))


def test_one_cancel_goes_on_whatever_it_takes_and_whatever_is_taken() -> None:
    world = World(1024)
    for number in range(8):
        flood(world, f"a{number}", 20)
        flood(world, f"a{number}", 20, OBSERVE)
    first = world.ask("a0", 250, CANCEL)
    second = world.ask("b", 250, CANCEL)
    assert not world.waits(first)
    assert world.waits(second)
    world.account.release(first)
    assert world.called[-1] == second


def test_cancels_come_before_observations_and_these_before_runs() -> None:
    world = World(1024)
    held = world.ask("a", 1000, CANCEL)
    tickets = [world.ask(name, 200, trigger) for name, trigger in (("s", SUBMIT), ("c", CANCEL))]
    assert all(map(world.waits, tickets))
    world.account.release(held)
    assert world.called == [tickets[1], tickets[0]]


def test_what_is_kept_for_one_that_does_not_take_it_is_for_the_next() -> None:
    world = World(1024)
    held = world.ask("a", 240)
    first, second = world.ask("a", 200), world.ask("a", 200)
    world.account.decline(first)
    assert world.waits(first), "who is not called yet goes on waiting"
    world.account.release(held)
    assert world.called == [first]
    world.account.decline(first)
    assert world.called == [first, second]
    assert world.take(second, "a", 200)
    world.account.decline(second)
    assert world.used == BASE + 200, "what is taken is not declined"


def test_one_that_leaves_while_it_waits_is_not_called() -> None:
    world = World(1024)
    held = world.ask("a", 240)
    first, second = world.ask("a", 200), world.ask("a", 200)
    world.account.leave(first)
    world.account.release(held)
    assert world.called == [second]
    assert world.account.waiting == 0


def test_asking_twice_takes_once_and_giving_back_twice_gives_back_once() -> None:
    world = World(1024)
    assert world.take("one", "a", 100)
    assert world.take("one", "a", 100)
    assert world.used == BASE + 100
    world.account.release("one")
    world.account.release("one")
    world.account.leave("one")
    assert world.used == 0


def test_the_size_of_a_module_that_becomes_known_later_counts() -> None:
    world = World(1024)
    assert world.take("one", "a", 10, digest="sha256:a")
    assert world.take("one", "a", 10, digest="sha256:a", artifact=7)
    assert world.used == BASE + 17


def test_until_it_is_known_what_there_is_all_wait_and_without_a_bound_nobody_does() -> None:
    world = World(None, known=False)
    waiting = [world.ask("a", 10, trigger) for trigger in (SUBMIT, OBSERVE, CANCEL)]
    assert all("has not said yet" in world.account.why(each) for each in waiting)
    world.account.set_limit(1024 * MIB)
    assert world.called == waiting[::-1]
    without = World(None)
    assert not any(without.waits(without.ask("a", 1 << 20)) for _ in range(10))
    assert without.account.data_bytes is None
    assert not without.account.never_fits(Need(1 << 50))


def test_what_is_admitted_stays_when_there_is_less_and_the_next_waits() -> None:
    world = World(1024)
    held = flood(world, "a", 50)
    world.account.set_limit(400 * MIB)
    later = world.ask("b", 50)
    assert not world.waits(later)
    for each in held[:-1]:
        world.account.release(each)
    assert world.called == []
    world.account.release(held[-1])
    assert len(world.called) == 1, "one of a namespace may always go on"


def test_a_need_over_a_quarter_never_fits() -> None:
    account = MemoryAccount(1024 * MIB)
    assert not account.never_fits(Need(256 * MIB - WORKER_BYTES))
    assert account.never_fits(Need(256 * MIB - WORKER_BYTES + 1))
    assert account.never_fits(Need(200 * MIB, "sha256:a", 50 * MIB))


@pytest.fixture
def idle() -> World:
    """Workers of thirty-six namespaces have nothing to do, and they have nearly all."""
    world = World(1024)
    for number in range(36):
        ticket = world.ask(f"idle{number}", 1)
        assert not world.waits(ticket)
        world.account.worker_started(f"idle{number}")
        world.account.release(ticket)
    assert world.used == 36 * BASE
    return world


def test_idle_workers_end_for_those_that_wait_the_longest_idle_first_and_no_more_than_needed(idle: World) -> None:
    waiting = idle.ask("b", 236 - BASE)
    assert idle.waits(waiting)
    lacking = 36 * BASE + 236 - 768
    ending = -(-lacking // BASE)
    assert idle.ended == [f"idle{number}" for number in range(ending)]
    for name in tuple(idle.ended):
        assert idle.called == []
        idle.account.worker_ended(name)
    assert idle.called == [waiting]
    assert len(idle.ended) == ending


def test_a_worker_that_cannot_be_ended_yet_is_asked_for_again() -> None:
    world = World(100)
    world.ask("done", 1)
    world.account.worker_started("done")
    world.account.release("done-Submit-0")
    world.account.end_idle = lambda _: False
    waiting = world.ask("b", 50)
    assert world.waits(waiting)
    world.account.end_idle = world.end_idle
    world.account.look_again()
    assert world.ended == ["done"]
    world.account.worker_ended("done")
    assert world.called == [waiting]


def test_a_namespace_whose_worker_is_there_takes_no_second_one(idle: World) -> None:
    assert not idle.waits(idle.ask("idle3", 10))
    assert idle.used == 36 * BASE + 10


def test_a_worker_that_is_said_to_have_ended_and_was_not_there_changes_nothing() -> None:
    world = World(1024)
    world.account.worker_ended("a")
    world.ask("a", 10)
    world.account.worker_ended("a")
    assert world.used == BASE + 10


@pytest.mark.parametrize("apart", [True, False])
def test_of_a_containers_limit_a_part_is_kept_for_others(apart: bool) -> None:
    own = 0 if apart else 2 << 30
    assert capacity(8 << 30, apart=apart) == (8 << 30) - TEMPLATE_BYTES - BESIDE_BYTES - own
    assert capacity(16 * MIB, apart=apart) == 0
    assert capacity(None, apart=apart) is None
