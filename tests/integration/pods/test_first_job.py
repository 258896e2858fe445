"""A job whose guest runs in a pod comes to its end as any other does, and leaves nothing."""

import json

from tests.harness.pods import Pods
from tests.harness.slow_runs import Point
from tests.harness.world import World


async def test_the_first_job_in_a_pod_completes_and_leaves_neither_job_nor_pod(pods: Pods) -> None:
    world = pods.world
    await world.prepare()
    operator = await world.start_operator()
    await operator.until_metric(1, "curation_guest_pods_ready")
    await world.create_job(observe={"intervalSeconds": 1, "maxIntervalSeconds": 1})
    await world.until_phase("Running")
    run, (first, *_) = world.status()["run"], world.service.log()
    assert run["pod"]["node"] == pods.kubelet.node
    assert first.caller.run_id == run["id"]
    await pods.until_no_jobs()
    world.service.complete(world.status()["session"]["id"], {"done": True})
    await world.until_phase("Completed")
    versions = world.jobs.versions[world.job()["metadata"]["uid"]]
    bound = [each for each in versions if each.get("status", {}).get("run", {}).get("pod")]
    assert bound[0]["status"]["phase"] == "Submitted", "it is bound before its first call is heard"


async def test_ten_jobs_in_pods_run_beside_each_other(pods: Pods) -> None:
    world = pods.world
    await world.prepare()
    await world.start_operator()
    names = await world.create_jobs(10)
    await world.until_phase("Running", *names)
    assert len({world.status(name)["run"]["pod"]["uid"] for name in names}) == 10
    await world.settled()
    await pods.until_no_jobs()


async def test_nothing_of_a_tenant_s_data_stands_in_the_job_or_its_pod_but_the_run_s_id(pods: Pods) -> None:
    world = pods.world
    await world.prepare()
    await world.start_operator()
    rule = await pods.create_held_job(Point.CREATE)
    (job,), (pod,) = await pods.jobs(), await pods.kubelet.pods()
    text = json.dumps([job, pod])
    # The operator's own namespace, by which it knows its Jobs, is the job's too in this test.
    for word in ("work of job-0", "job-0", world.service.url, "build-session-message", "curationjobs"):
        assert word not in text
    rule.release()
    await world.until_phase("Running")
    await pods.until_no_jobs()


async def test_a_job_that_asks_for_a_pod_is_stalled_with_the_remedy_until_the_operator_has_them(pods: Pods) -> None:
    world = pods.world
    await world.prepare()
    without = World.operator(world, lease=True)  # one without guest pods
    await without.start()
    await world.create_job()
    await world.until_phase("Queued", reason="ExecutorUnavailable")
    assert "--guest-pods" in world.status()["message"]
    assert {each["type"] for each in world.status()["conditions"] if each["status"] == "True"} == {"Stalled"}
    await without.stop()
    operator = await world.start_operator()
    await world.until_phase("Running")
    await operator.until_metric(1, "curation_door_knocks_total", verdict="admitted")
    await world.settled()
    await pods.until_no_jobs()
