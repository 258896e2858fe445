"""The memory of workers is bounded by an option: what has no room waits where a person sees it, and then goes on."""

from tests.harness import manifests
from tests.harness.slow_runs import Point, hold, until_held
from tests.harness.world import World


async def test_a_job_that_has_no_room_is_queued_and_says_why_and_one_whose_module_never_has_any_too(
    world: World,
) -> None:
    await world.cluster.create(manifests.module(wall_seconds=600, memory="20Mi"))
    await world.cluster.create(manifests.module("large", memory="200Mi"))
    await world.cluster.create(manifests.policy())
    slow = hold(world, Point.CREATED)
    await world.start_operator("--workers-memory", "240Mi")
    await world.create_job("first")
    await until_held(world, slow, 1)
    await world.create_job("second")
    await world.create_job("third", moduleRef={"name": "large"})

    await world.until_phase("Queued", "second", reason="WaitingForSlot")
    await world.until_phase("Queued", "third", reason="ModuleUnusable")
    said = world.status("second")["message"]
    assert "the runs of its namespace have what one may take (60Mi): it waits for them" in said
    assert "run" not in world.status("second"), "no attempt is claimed, so none runs out of time"
    assert "a run of it may take 23" in world.status("third")["message"]
    slow.release()
    await world.until_phase("Running", "first", "second")
