"""A leader that ends while runs are in pods: the next one goes on with them."""

import asyncio

from tests.guests.wat import Script
from tests.harness import manifests
from tests.harness.pods import Pods
from tests.harness.slow_runs import Point, hold, until_held
from tests.harness.world import World


async def calls_of(world: World, attempt: int = 1) -> list[str]:
    """The paths of the calls of a run, as the session service saw them."""
    return [entry.path for entry in world.service.log(run=world.run_id(generation=1, attempt=attempt))]


async def test_a_run_is_resumed_by_the_next_leader_and_a_call_on_the_wire_is_never_sent_twice(pods: Pods) -> None:
    world = pods.world
    await world.prepare()
    calls = Script()
    for number in range(3):
        calls.call({"method": "GET", "url": f"{world.service.url}/workspaces/{number}"}).log_answer()
    for document in manifests.wasm_module("three-calls", calls.ok({"action": "Completed", "output": {}})):
        await world.cluster.create(document)
    leader = await world.start_operator()
    rule = world.service.add_rule("hold", "before", method="GET", path="/workspaces/1")
    await world.create_job(moduleRef={"name": "three-calls"})
    await until_held(world, rule, 1)
    first = await pods.until_bound()
    await leader.kill()
    await world.start_operator()
    await world.until_phase("Completed")
    rule.release()
    assert world.status()["run"]["attempt"] == 1
    assert pods.pod()["uid"] == first["uid"]
    assert await calls_of(world) == [f"/workspaces/{number}" for number in range(3)]
    (output,) = (text for name, text in pods.kubelet.output.items() if name == first["name"])
    assert "Traceback" not in output
    await pods.until_no_jobs()


async def test_a_run_in_a_pod_goes_on_while_the_operator_is_stopped_and_started_again(pods: Pods) -> None:
    world = pods.world
    await world.prepare(wall_seconds=20)
    leader = await world.start_operator()
    rule = await pods.create_held_job(Point.LAST_ANSWER)
    first = await pods.until_bound()
    await leader.stop()
    rule.release()
    assert pods.kubelet.processes[first["uid"]].returncode is None, "a stop of the operator does not end its pods"
    await world.start_operator()
    await world.until(lambda: world.status()["phase"] in ("Running", "Queued"), "the run has come to an end")
    await world.until_phase("Running")
    await world.settled()
    await pods.until_no_jobs()


async def test_a_second_pod_that_comes_to_the_next_leader_is_turned_away(pods: Pods) -> None:
    world = pods.world
    await world.prepare(wall_seconds=20)
    leader = await world.start_operator()
    rule = await pods.create_held_job(Point.CREATE)
    first = await pods.until_bound()
    await leader.kill()
    await world.start_operator()
    pods.kubelet.pause(first["uid"])
    await pods.until_second_pod_is_refused()
    pods.kubelet.resume(first["uid"])
    rule.release()
    await world.until(lambda: world.status()["phase"] != "Submitted", "the first pod has said what it came to")
    assert [entry.path for entry in world.service.log(run=world.run_id(generation=1))].count("/sessions") <= 1


async def test_a_job_of_a_run_that_is_over_is_removed_by_the_next_leader(pods: Pods) -> None:
    world = pods.world
    await world.prepare(wall_seconds=20)
    leader = await world.start_operator()
    rule = await pods.create_held_job(Point.CREATED)
    await pods.until_bound()
    await leader.kill()
    await world.edit("job-0", rerun="1")
    await world.start_operator()
    rule.release()
    await world.until_phase("Running")
    await world.settled()
    await pods.until_no_jobs()


async def test_a_job_that_was_made_and_whose_pod_has_not_come_is_taken_by_the_next_leader_as_it_is(pods: Pods) -> None:
    world = pods.world
    await world.prepare()
    leader = await world.start_operator()
    pods.kubelet.starts.clear()
    await world.create_job()
    await world.until_phase("Submitted")
    async with asyncio.timeout(30):
        while not await pods.kubelet.pods():  # noqa: ASYNC110 - the API server is asked
            await asyncio.sleep(0.05)
    (job,) = await pods.jobs()
    await leader.kill()
    again = await world.start_operator()
    await world.until(lambda: bool(again.logged("goes on")), "it listens to the run")
    pods.kubelet.starts.set()
    await world.until_phase("Running")
    assert world.status()["run"]["attempt"] == 1
    assert pods.pod()["jobUID"] == job["metadata"]["uid"]
    assert not again.logged("is not made yet")


async def test_eight_runs_in_pods_come_to_one_session_each_though_the_leader_and_a_pod_are_killed(pods: Pods) -> None:
    world = pods.world
    await world.prepare(wall_seconds=20)
    leader = await world.start_operator()
    rule = hold(world, Point.CREATED)
    names = await world.create_jobs(8)
    await until_held(world, rule, len(names))
    bound = [await pods.until_bound(name) for name in names]
    await leader.kill()
    pods.kubelet.kill(bound[0]["uid"], "Evicted")
    await world.start_operator()
    rule.release()
    await world.until_phase("Running", *names)
    await world.settled()
    for name in names:
        first, *_ = world.status(name)["history"]
        assert first["id"] == world.run_id(name, generation=1)
        # Whoever begins to lead may find the dead one's Job ended, or hear of its end; and a takeover may take as long
        # as the wall limit.
        ends = ("HolderGone", "Interrupted") if name == names[0] else ("HTTPUnavailable", "Timeout")
        assert first["reason"] in ends
    await pods.until_no_jobs()
