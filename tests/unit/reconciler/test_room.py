"""A job whose run has no room in the workers' memory waits before its run is claimed, and is woken when it has."""

import asyncio
import time
from pathlib import Path

from curation.api.job import Run
from curation.lifecycle.outcome import Trigger
from curation.reconciler.jobs import orders
from curation.reconciler.jobs.room import Room
from curation.workers.need import Need
from tests.unit.reconciler.disconnected import NAMESPACE, Rig, disconnected, job, key, module_key, run_status
from tests.unit.reconciler.test_modules import BUILTIN, put
from tests.unit.reconciler.virtual_time import in_virtual_time

MIB = 1 << 20
TAKEN = Need(100 * MIB)


def run(attempt: int = 1) -> Run:
    found = job(status=run_status("Submitted")).status.run
    assert found is not None
    return found.model_copy(update={"id": f"uid-job.g1.a{attempt}"})


def full(rig: Rig) -> None:
    """The namespace has taken what it may."""
    rig.context.memory.set_limit(480 * MIB)
    assert rig.context.memory.take("taken", NAMESPACE, Trigger.SUBMIT, TAKEN, lambda: None)


@in_virtual_time
async def test_a_job_waits_says_why_and_is_woken_once_there_is_room(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        full(rig)
        room = Room(rig.context, rig.modules)
        assert not room.take(key(), run())
        room.decline(key())
        assert "the runs of its namespace have what one may take (120Mi)" in room.why(key())
        rig.context.memory.release("taken")
        assert rig.taken() == [key()]
        assert room.take(key(), run())
        room.decline(key())
        assert rig.context.memory.used > 64 * MIB, "what is taken is the run's, not the job's"
        room.give_back(run())
        assert rig.context.memory.used == 0


@in_virtual_time
async def test_what_is_kept_for_a_job_that_does_not_want_it_any_more_goes_to_the_next(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        full(rig)
        room = Room(rig.context, rig.modules)
        other = run().model_copy(update={"id": "uid-other.g1.a1"})
        assert not room.take(key("suspended"), run())
        assert not room.take(key("other"), other)
        rig.context.memory.release("taken")
        assert rig.taken() == [key("suspended")]
        room.decline(key("suspended"))
        assert rig.taken() == [key("other")]
        assert room.take(key("other"), other)


@in_virtual_time
async def test_a_job_that_asks_for_another_run_waits_with_that_one_alone(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        full(rig)
        room = Room(rig.context, rig.modules)
        assert not room.take(key(), run(1))
        assert not room.take(key(), run(2))
        assert rig.context.memory.waiting == 1
        rig.context.memory.release("taken")
        assert room.take(key(), run(2))
        room.give_back(run(1))
        assert rig.context.memory.used > 0
        room.forget(key())
        assert rig.context.memory.waiting == 0


@in_virtual_time
async def test_a_job_that_is_gone_waits_no_more(tmp_path: Path) -> None:
    async with disconnected(tmp_path) as rig:
        full(rig)
        room = Room(rig.context, rig.modules)
        assert not room.take(key(), run())
        room.forget(key())
        rig.context.memory.release("taken")
        assert rig.taken() == []
        assert rig.context.memory.used == 0


@in_virtual_time
async def test_the_time_of_a_cancel_counts_when_there_is_memory_for_it_or_nobody_knows_when_there_will_be(
    tmp_path: Path,
) -> None:
    async with disconnected(tmp_path) as rig:
        account, begun = rig.context.memory, list[str]()
        found = job(status=run_status("Submitted"))
        assert found.status.run is not None
        order = orders.cancel_orphan(orders.submit(key(), found, found.status.run), None)
        account.set_limit(480 * MIB)
        assert account.take("taken", NAMESPACE, Trigger.CANCEL, Need(480 * MIB), lambda: None)
        waits = asyncio.create_task(rig.runs.cancel(order, lambda: begun.append("with memory")))
        await asyncio.sleep(1)
        assert (begun, account.waiting) == ([], 1)
        account.release("taken")
        assert (await waits).trigger is Trigger.CANCEL
        assert begun == ["with memory"]

        rig.context.memory.known = False
        unknown = asyncio.create_task(rig.runs.cancel(order, lambda: begun.append("unknown")))
        await asyncio.sleep(1)
        assert begun == ["with memory", "unknown"]
        unknown.cancel()
        await asyncio.wait([unknown])
        assert (account.waiting, account.used) == (0, 0)


async def test_a_module_of_which_no_run_would_have_room_is_too_large_until_there_is_more(tmp_path: Path) -> None:
    async with disconnected(tmp_path, monotonic=time.monotonic) as rig:
        rig.context.memory.on_limit = rig.modules.limits_changed
        put(rig, {"source": {"builtin": BUILTIN}, "limits": {"memory": "512Mi", "responseSize": "2Mi"}})
        rig.context.memory.set_limit(1024 * MIB)
        assert rig.taken() == [module_key()]
        refused = await rig.modules.load(module_key())
        assert refused is not None
        assert (refused.digest, refused.reason) == (None, "TooLarge")
        for part in ("spec.limits.memory is 512Mi", "responseSize 2Mi", "may take 256Mi here", "--workers-memory"):
            assert part in refused.message
        rig.taken()
        rig.context.memory.set_limit(4096 * MIB)
        assert module_key() in rig.taken()
        loaded = await rig.modules.load(module_key())
        assert loaded is not None
        assert loaded.digest is not None
