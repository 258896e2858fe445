"""Jobs of guests are made once, watched, and removed; what their end means is said once, with the pod's reason."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from curation.api.executor import GuestJob
from curation.api.job import RunPod
from curation.cluster.cache import Cache
from curation.cluster.resources import BATCH_JOBS, JOBS, PODS
from curation.execution.seam import ExecutionRequest, ModuleBuild, execution_id
from curation.lifecycle.outcome import Liveness, RunKey, Trigger
from curation.pods.manifest import job_name
from curation.reconciler.pods.keeper import PodKeeper
from curation.reconciler.pods.seen import SeenJob, SeenPod, pod_of_document
from curation.reconciler.pods.watch import GuestWatch
from tests.unit.reconciler.disconnected import document, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time

RUN = "uid-job.g1.a1"
NAME = job_name(RUN)
EXECUTION = execution_id(RUN, Trigger.SUBMIT, 1)
REQUEST = ExecutionRequest(
    trigger=Trigger.SUBMIT,
    run=RunKey("uid-job", RUN, 1, 1, "v1:x"),
    namespace="ns",
    job="job",
    module=ModuleBuild("m", "sha256:0"),
    in_pod=True,
)


@dataclass
class Maker:
    """The cluster, as far as Jobs are made in it."""

    problems: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    jobs: dict[str, SeenJob] = field(default_factory=dict)
    pods: dict[str, SeenPod] = field(default_factory=dict)
    wait: asyncio.Event | None = None
    version: int = 0
    """Of what is made."""

    async def make(self, request: ExecutionRequest, placed: GuestJob, artifact_bytes: int) -> SeenJob | str:
        if self.wait is not None:
            await self.wait.wait()
        if self.problems:
            return self.problems.pop(0)
        self.made.append(request.run.id)
        job = SeenJob(job_name(request.run.id), f"job-{len(self.made)}", request.execution, version=self.version)
        self.jobs[job.name] = job
        return job

    async def remove(self, job: SeenJob) -> None:
        self.removed.append(job.uid)

    async def find_job(self, name: str) -> SeenJob | None:
        return self.jobs.get(name)

    async def find_pod(self, name: str) -> SeenPod | None:
        return self.pods.get(name)


@dataclass
class Stage:
    keeper: PodKeeper
    watch: GuestWatch
    maker: Maker
    jobs: Cache
    lost: list[tuple[str, bool]] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    woken: int = 0

    def synced(self, *jobs: Any, pods: tuple[Any, ...] = ()) -> None:
        self.watch._listed(BATCH_JOBS, list(jobs))
        self.watch._listed(PODS, list(pods))


@asynccontextmanager
async def stage(status: dict[str, Any] | None = None) -> AsyncIterator[Stage]:
    jobs = Cache(JOBS)
    jobs.put(document(status=status or run_status("Submitted"), spec={"executor": {"type": "Job"}}))
    watch, maker = GuestWatch(None, "guests", "op"), Maker()  # type: ignore[arg-type]
    keeper = PodKeeper(jobs, watch, maker, lambda: None)  # type: ignore[arg-type]
    found = Stage(keeper, watch, maker, jobs)
    keeper.lose = lambda _, cause, pod: found.lost.append((cause, pod is not None and pod.over_memory))
    keeper.tell_wait = lambda _, why: found.waits.append(why)
    yield found
    await keeper.close()


async def turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def job(uid: str = "job-1", *, run: str = RUN, version: int = 1, **status: Any) -> Any:
    metadata: dict[str, Any] = {"name": job_name(run), "uid": uid, "annotations": {"curation.dev/run-id": run}}
    metadata["resourceVersion"] = str(version)
    if status.pop("deleted", False):
        metadata["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    return {"metadata": metadata, "spec": {"suspend": status.pop("suspend", False)}, "status": status}


def pod(uid: str = "pod-1", *, job_uid: str = "job-1", **status: Any) -> Any:
    owner = {"kind": "Job", "uid": job_uid, "controller": True}
    metadata: dict[str, Any] = {"name": uid, "uid": uid, "ownerReferences": [owner]}
    if status.pop("deleted", False):
        metadata["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    return {"metadata": metadata, "spec": {}, "status": status}


FAILED: dict[str, Any] = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
OOM: dict[str, Any] = {
    "phase": "Failed",
    "containerStatuses": [{"name": "guest", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}],
}
POD = RunPod(name="pod-1", uid="pod-1", job_uid="job-1")
BOUND = {**run_status("Submitted"), "run": {**run_status("Submitted")["run"], "pod": POD.to_wire()}}


@in_virtual_time
async def test_a_job_is_made_once_the_cluster_was_read_and_only_if_there_is_none() -> None:
    async with stage() as it:
        it.keeper.start(REQUEST)
        await turn()
        assert it.maker.made == [], "it may be there"
        assert it.keeper.liveness(EXECUTION) is Liveness.UNKNOWN
        it.synced()
        it.keeper.start(REQUEST)
        await turn()
        assert it.maker.made == [RUN]
        assert it.keeper.awaited(EXECUTION) == (REQUEST, "job-1")
        assert it.keeper.liveness(EXECUTION) is Liveness.ALIVE


@in_virtual_time
async def test_what_keeps_a_job_from_being_made_is_said_once_and_tried_again() -> None:
    async with stage() as it:
        it.maker.problems = ["403 a quota", "403 a quota"]
        it.synced()
        it.keeper.start(REQUEST)
        await asyncio.sleep(5)
        assert it.maker.made == [RUN]
        assert len([why for why in it.waits if "a quota" in why]) == 1


@in_virtual_time
async def test_the_job_goes_when_its_execution_has_ended_also_if_it_was_being_made() -> None:
    async with stage() as it:
        it.synced()
        it.keeper.start(REQUEST)
        await turn()
        it.keeper.ended(EXECUTION)
        it.keeper.ended(EXECUTION)
        it.keeper.ended("unknown/Submit/1")
        await turn()
        assert it.maker.removed == ["job-1"]
        assert it.lost == []


@in_virtual_time
async def test_why_a_pod_does_not_start_is_said_once_for_each_reason() -> None:
    async with stage() as it:
        it.synced()
        it.keeper.start(REQUEST)
        await turn()
        waiting = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
        for _ in range(3):
            it.watch._changed(PODS, pod(containerStatuses=[{"name": "guest", "state": waiting}]), gone=False)
        assert it.waits == ["its pod pod-1 does not start: ErrImagePull: no such image"]
        it.watch._changed(BATCH_JOBS, job(suspend=True), gone=False)
        assert "suspended" in it.waits[-1]
        assert it.lost == [], "somebody may resume it"


@in_virtual_time
async def test_a_job_of_which_no_pod_is_made_is_spoken_of_once() -> None:
    async with stage() as it:
        it.watch.KINDS = ()  # type: ignore[misc, assignment]
        it.keeper.begin()
        it.synced()
        it.keeper.start(REQUEST)
        await asyncio.sleep(1)
        assert it.waits == []
        await asyncio.sleep(30)
        assert len(it.waits) == 1
        assert "Events say why" in it.waits[0]
        it.watch._changed(PODS, pod(phase="Pending"), gone=False)
        assert "is to come" in it.waits[-1]


@in_virtual_time
async def test_a_run_is_lost_with_the_pod_s_reason_though_the_job_s_end_is_shown_first() -> None:
    async with stage() as it:
        it.synced()
        it.keeper.start(REQUEST)
        await turn()
        it.watch._changed(PODS, pod(phase="Running"), gone=False)
        it.keeper.bound(EXECUTION, POD)
        it.maker.pods["pod-1"] = pod_of_document(pod(**OOM))
        it.watch._changed(BATCH_JOBS, job(**FAILED), gone=False)
        it.watch._changed(PODS, pod(**OOM), gone=False)
        await turn()
        ((cause, over_limit),) = it.lost
        assert "OOMKilled" in cause
        assert over_limit


def cases() -> dict[str, Callable[[Stage], None]]:
    return {
        "suspended": lambda it: it.watch._changed(BATCH_JOBS, job(suspend=True), gone=False),
        "being deleted": lambda it: it.watch._changed(BATCH_JOBS, job(deleted=True), gone=False),
        "is gone": lambda it: it.watch._changed(BATCH_JOBS, job(), gone=True),
        "replaced": lambda it: it.watch._changed(BATCH_JOBS, job("job-2"), gone=False),
        "pod pod-1 is gone": lambda it: it.watch._changed(PODS, pod(), gone=True),
        "Evicted": lambda it: it.watch._changed(PODS, pod(phase="Failed", reason="Evicted"), gone=False),
    }


async def test_a_run_that_is_bound_is_lost_when_its_job_or_pod_is_no_more() -> None:
    for words, change in cases().items():
        async with stage() as it:
            it.synced()
            it.keeper.start(REQUEST)
            await turn()
            it.watch._changed(PODS, pod(phase="Running"), gone=False)
            it.keeper.bound(EXECUTION, POD)
            assert it.lost == []
            change(it)
            change(it)
            await turn()
            assert len(it.lost) == 1, words
            assert words in it.lost[0][0]
            assert it.keeper.awaited(EXECUTION) is None


@in_virtual_time
async def test_the_next_process_goes_on_with_the_job_and_the_pod_that_the_status_names() -> None:
    async with stage(BOUND) as it:
        it.synced(job(), pods=(pod(phase="Running"),))
        assert it.keeper.liveness(EXECUTION) is Liveness.ALIVE
        it.keeper.start(replace(REQUEST, resumed=True))
        await turn()
        assert it.maker.made == []
        assert it.lost == []
        assert it.keeper.awaited(EXECUTION) is not None


@in_virtual_time
async def test_the_next_process_finds_a_run_lost_whose_pod_is_gone_or_whose_job_is_another() -> None:
    async with stage(BOUND) as it:
        it.synced(job())
        it.keeper.start(REQUEST)
        await turn()
        assert "pod pod-1 is gone" in it.lost[0][0]
    async with stage(BOUND) as it:
        it.synced(job("job-9"))
        it.keeper.start(REQUEST)
        await turn()
        assert "replaced" in it.lost[0][0]


@in_virtual_time
async def test_a_list_that_is_older_than_what_was_made_or_bound_loses_nothing() -> None:
    async with stage() as it:
        it.synced()
        it.keeper.start(REQUEST)
        await turn()
        it.keeper.bound(EXECUTION, POD)
        it.maker.pods["pod-1"] = pod_of_document(pod(phase="Running"))
        it.synced()
        await turn()
        assert it.lost == []
        del it.maker.jobs[NAME]
        it.synced()
        await turn()
        assert "is gone" in it.lost[0][0]


@in_virtual_time
async def test_jobs_of_runs_that_are_not_current_are_removed_and_no_other() -> None:
    async with stage() as it:
        current = "uid-job.g1.a1"
        others = ("uid-job.g1.a0", "uid-gone.g1.a1")
        it.synced(*(job(f"of {run}", run=run) for run in (current, *others)))
        assert {each.uid for each in it.keeper.unneeded()} == {f"of {run}" for run in others}


@in_virtual_time
async def test_an_event_of_the_job_before_that_comes_after_the_new_one_was_made_loses_nothing() -> None:
    async with stage() as it:
        it.maker.version = 7
        it.synced(job("of another image", version=3))
        it.keeper.start(REQUEST)
        await turn()
        assert it.keeper.awaited(EXECUTION) == (REQUEST, "job-1")
        it.watch._changed(BATCH_JOBS, job("of another image", version=5), gone=False)
        it.watch._changed(BATCH_JOBS, job("of another image", version=6), gone=True)
        it.synced(job("of another image", version=5))
        await turn()
        assert it.lost == []
        it.watch._changed(BATCH_JOBS, job(version=7), gone=False)
        it.watch._changed(BATCH_JOBS, job(version=8, deleted=True), gone=False)
        await turn()
        assert "being deleted" in it.lost[0][0]


@in_virtual_time
async def test_a_job_whose_run_is_shown_a_moment_later_is_not_removed() -> None:
    """This process has just begun to lead: it has read the Jobs, and is behind with what claimed their runs."""
    async with stage(run_status("Queued")) as it:
        it.watch.KINDS = ()  # type: ignore[misc, assignment]
        it.synced(job(), job("old", run="uid-gone.g1.a1"))
        it.keeper.begin()
        await asyncio.sleep(1)
        assert it.maker.removed == []
        claimed = document(status=run_status("Submitted"), spec={"executor": {"type": "Job"}})
        claimed["metadata"]["resourceVersion"] = "1000"
        it.jobs.put(claimed)
        await asyncio.sleep(120)
        assert set(it.maker.removed) == {"old"}


@in_virtual_time
async def test_a_pod_that_is_being_deleted_by_a_node_that_says_nothing_is_lost_after_a_while() -> None:
    taint = [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}]
    async with stage() as it:
        it.synced()
        it.keeper.start(REQUEST)
        await turn()
        it.watch._changed(PODS, pod(phase="Running"), gone=False)
        it.keeper.bound(EXECUTION, POD)
        for _ in range(2):
            it.watch._changed(PODS, pod(phase="Running", deleted=True, conditions=taint), gone=False)
        await asyncio.sleep(30)
        assert it.lost == [], "it may still say what it came to"
        await asyncio.sleep(60)
        ((cause, _),) = it.lost
        assert "pod-1 is being deleted" in cause
        assert "DeletionByTaintManager" in cause


@in_virtual_time
async def test_the_next_process_says_why_a_run_is_lost_whose_pod_has_ended_while_nobody_led() -> None:
    async with stage(BOUND) as it:
        it.synced(job(**FAILED), pods=(pod(**OOM),))
        assert it.keeper.liveness(EXECUTION) is Liveness.ALIVE
        it.keeper.start(replace(REQUEST, resumed=True))
        await turn()
        ((cause, over_limit),) = it.lost
        assert "OOMKilled" in cause
        assert over_limit
        it.watch._changed(BATCH_JOBS, job(deleted=True), gone=False)
        assert it.keeper.liveness(EXECUTION) is Liveness.GONE


@in_virtual_time
async def test_another_pod_of_the_job_that_goes_is_not_the_bound_one() -> None:
    async with stage() as it:
        it.synced()
        it.keeper.start(REQUEST)
        await turn()
        it.keeper.bound(EXECUTION, POD)  # its pod is not shown yet
        it.watch._changed(PODS, pod("second", phase="Failed", deleted=True), gone=True)
        await asyncio.sleep(120)
        assert it.lost == []
