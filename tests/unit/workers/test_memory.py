"""Memory of real workers: what has no room waits, and one that takes more than it said ends no worker but its own."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from curation.execution.seam import ExecutionRequest, Lost, Waiting
from curation.isolation.nursery import Nursery
from curation.lifecycle.outcome import Completed, Trigger
from curation.wasm.limits import Limits
from curation.workers.account import MemoryAccount
from curation.workers.need import WORKER_BYTES, Need
from curation.workers.targets import TEMPLATE
from tests.guests.wat import Script
from tests.unit.execution.conftest import PERMIT, ROOMY, Heard, Rig, ended, until
from tests.unit.execution.conftest import rig as in_process
from tests.unit.workers.rigs import end_of, with_workers, worker

__all__ = ["in_process"]
DONE = {"action": "Completed", "output": {}}
MIB = 1 << 20
LIMITS = replace(ROOMY, memory=20 * MIB)


@asynccontextmanager
async def bounded(around: Rig, mib: int) -> AsyncIterator[Rig]:
    async with with_workers(around, account=MemoryAccount(mib * MIB)) as rig:
        yield rig


def hold(rig: Rig) -> bytes:
    return Script().call({"method": "POST", "url": rig.peer.url("/hold"), "body": "{}"}).ok(DONE)


def in_namespace(rig: Rig, namespace: str, request: ExecutionRequest) -> Heard:
    assert rig.book.put_policy(namespace, "p", PERMIT).valid
    return rig.ask(replace(request, namespace=namespace))


def waits(heard: Heard) -> str:
    return next((word.reason for word in heard.words if isinstance(word, Waiting) and "memory" in word.reason), "")


def greedy(mib: int) -> bytes:
    """A guest that has the host copy a text of so many MiB, which takes four bytes for each character there."""
    return Script().ends_with(
        f"""(drop (memory.grow (i32.const {mib * 16})))
        (i32.store (i32.const 65536) (i32.const 0x80989ff0))
        (call $log (i32.const 0) (i32.const 0) (i32.const 65536) (i32.const {mib * MIB}))
        unreachable"""
    )


async def test_a_guest_that_takes_more_than_was_admitted_ends_its_own_worker_for_memory_and_no_other(
    in_process: Rig,
) -> None:
    async with bounded(in_process, 330) as rig:
        theirs = in_namespace(rig, "other", rig.request(hold(rig), limits=LIMITS))
        await rig.peer.reached("/hold")
        limits = replace(ROOMY, memory=52 * MIB)
        assert not rig.executor._account.never_fits(Need.of(limits, "", 0))
        end = await end_of(rig.start(greedy(51), limits=limits))
        assert isinstance(end, Lost), end
        assert end.over_limit, end
        assert "out of memory" in end.cause
        rig.peer.go_on.set()
        assert (await ended(theirs)).result == Completed({})
        assert (await rig.run(Script().ok(DONE), limits=LIMITS)).result == Completed({})


async def test_many_guests_at_once_have_what_they_were_admitted_for(in_process: Rig) -> None:
    """Each writes to all of its memory. Under a bound on the process alone, the last ones would find none."""
    pages = 19 * 16
    fill = f"""(if (i32.lt_s (memory.grow (i32.const {pages})) (i32.const 0)) (then unreachable))
        (memory.fill (i32.const 65536) (i32.const 7) (i32.const {pages << 16}))"""
    async with bounded(in_process, 1600) as rig:
        script = Script().repeat(fill).call({"method": "POST", "url": rig.peer.url("/hold"), "body": "{}"})
        wasm = script.ok(DONE)
        most = (400 * MIB - WORKER_BYTES) // Need.of(LIMITS, "", 0).run_bytes
        assert most > 8
        all_of_them = [rig.start(wasm, limits=LIMITS) for _ in range(most + 1)]
        await rig.peer.reached("/hold", most)
        await until(lambda: any(map(waits, all_of_them)))
        assert sum(bool(waits(each)) for each in all_of_them) == 1
        assert rig.peer.count("/hold") == most
        rig.peer.go_on.set()
        for each in all_of_them:
            assert (await ended(each)).result == Completed({})
        assert rig.executor._account.used == WORKER_BYTES, "but the worker, all is given back"


async def test_what_has_no_room_waits_says_so_and_goes_on_and_a_stop_ends_the_waiting(in_process: Rig) -> None:
    async with bounded(in_process, 200) as rig:
        first = rig.start(hold(rig), limits=LIMITS)
        await rig.peer.reached("/hold")
        stopped, later = rig.start(Script().ok(DONE), limits=LIMITS), rig.start(Script().ok(DONE), limits=LIMITS)
        await until(lambda: bool(waits(stopped) and waits(later)))
        assert "the runs of its namespace have what one may take (50Mi)" in waits(later)
        stopped.stop("suspended")
        assert (await ended(stopped)).dead
        cancel = rig.start(Script().ok({"action": "Cancelled"}), Trigger.CANCEL, limits=LIMITS)
        await ended(cancel)
        assert not later.ended.done()
        rig.peer.go_on.set()
        for each in (first, later):
            assert (await ended(each)).result == Completed({})
        assert rig.executor._account.waiting == 0


async def test_a_worker_with_nothing_to_do_ends_for_the_execution_of_another_namespace(in_process: Rig) -> None:
    limits = Limits(memory=MIB, response_size=MIB // 8)
    async with bounded(in_process, 125) as rig:
        for number in range(4):  # none is idle for long enough to end by itself
            heard = in_namespace(rig, f"n{number}", rig.request(Script().ok(DONE), limits=limits))
            await ended(heard)
            rig.executor.settled(heard.request.execution)
        assert list(rig.executor.workers) == ["n0", "n1", "n2", "n3"]
        heard = in_namespace(rig, "late", rig.request(Script().ok(DONE), limits=limits))
        assert (await ended(heard)).result == Completed({})
        assert list(rig.executor.workers) == ["n1", "n2", "n3", "late"]


async def test_what_a_killed_worker_had_is_given_back(in_process: Rig) -> None:
    async with bounded(in_process, 200) as rig:
        heard = rig.start(hold(rig), limits=LIMITS)
        await rig.peer.reached("/hold")
        waiting = rig.start(Script().ok(DONE), limits=LIMITS)
        await until(lambda: bool(waits(waiting)))
        os.kill(await worker(rig), signal.SIGKILL)
        assert isinstance(await end_of(heard), Lost)
        assert (await ended(waiting)).result == Completed({})


async def test_until_the_template_has_said_what_there_is_executions_wait_and_then_they_go_on(in_process: Rig) -> None:
    account = MemoryAccount(known=False)
    async with with_workers(in_process, account=account, nursery=Nursery(TEMPLATE)) as rig:
        heard = rig.start(Script().ok(DONE))
        await until(lambda: bool(waits(heard)))
        assert (await ended(heard)).result == Completed({})
        assert account.known


async def test_all_that_waits_is_given_up_when_the_operator_stops(in_process: Rig) -> None:
    async with bounded(in_process, 200) as rig:
        heard = [rig.start(hold(rig), limits=LIMITS) for _ in range(3)]
        await until(lambda: sum(map(bool, map(waits, heard))) == 2)
        await rig.executor.drain(grace=0)
        for each in heard:
            await end_of(each)
        assert rig.executor._account.used == 0
        assert rig.executor._account.waiting == 0
