"""Has the Jobs of guests made, hears of them and of their pods, and has them removed: see `pods.seam.GuestPods`.

For the process that leads. Nothing here is kept over its end: which runs go on is in the jobs' statuses, and which Jobs
there are is in the cluster. A Job that no current run needs goes.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from curation.api.executor import GuestJob
from curation.api.job import CurationJob, RunPod
from curation.api.names import Phase
from curation.api.reading import Unreadable
from curation.cluster.answers import APIError, Unreachable
from curation.cluster.cache import Cache
from curation.cluster.resources import BATCH_JOBS, ResourceKind
from curation.execution.seam import ExecutionRequest
from curation.lifecycle.outcome import Liveness
from curation.pods.manifest import job_name
from curation.reconciler.pods.guest import Guest
from curation.reconciler.pods.making import JobMaker, retry_after
from curation.reconciler.pods.seen import SeenJob, SeenPod, cause_of_loss
from curation.reconciler.pods.watch import GuestWatch

log = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 30.0
NO_POD_SECONDS: Final = 5.0
"""After which a Job of which there is no pod yet is spoken of."""
DELETED_SECONDS: Final = 60.0
"""After which a pod that is being deleted is lost, though its node does not say that it has ended: that may be gone."""
_UNSYNCED_SECONDS: Final = 0.5


class PodKeeper:
    """See `pods.seam.GuestPods`. For one event loop; close it."""

    def __init__(
        self,
        jobs: Cache,
        watch: GuestWatch,
        maker: JobMaker,
        wake_waiting: Callable[[], None],
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`wake_waiting` has all jobs worked on that have such an executor: what kept them may be over."""
        self._curation_jobs = jobs
        self._watch = watch
        self._maker = maker
        self._wake_waiting = wake_waiting
        self._pause = pause
        self._guests: dict[str, Guest] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._removing: set[str] = set()
        """The uids of Jobs that are being removed."""
        self.lose: Callable[[str, str, SeenPod | None], None] = lambda *_: None
        """Called with an execution that comes to nothing, why, and its pod, if that is known."""
        self.tell_wait: Callable[[str, str], None] = lambda *_: None
        """Called with an execution that does not begin, and why."""
        watch.on_list, watch.on_job, watch.on_pod = self._on_list, self._on_job, self._on_pod
        watch.on_problem = wake_waiting

    def begin(self) -> None:
        """This process leads: watch, and remove what no run needs."""
        for kind in self._watch.KINDS:
            self._spawn(self._watch.follow(kind), f"{kind.plural} of guests")
        self._spawn(self._sweep(), "unneeded jobs of guests")
        self._spawn(self._look_for_pods(), "jobs without a pod")

    async def close(self) -> None:
        """Leave all as it is, for the next one that leads."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- seam.GuestPods ----------------------------------------------------------------------------------------------

    def start(self, request: ExecutionRequest, artifact_bytes: int = 0) -> None:
        """See the seam. While nothing was read yet it waits: its Job may be there already."""
        if request.execution in self._guests:
            return
        job = self._job_of(request)
        run = job.status.run if job is not None else None
        pod = run.pod if run is not None and run.id == request.run.id else None
        guest = Guest(request, artifact_bytes, pod, pod.job_uid if pod is not None else "")
        self._guests[request.execution] = guest
        if self._watch.synced:
            self._confirm_pod(request.execution, guest)
            self._look(request.execution, guest)

    def ended(self, execution: str) -> None:
        """See the seam."""
        guest = self._guests.pop(execution, None)
        if guest is None:
            return
        if guest.making is not None:
            guest.making.cancel()  # whether it was made after all the sweep finds out
        job = self._watch.jobs.get(guest.name)
        if job is not None:
            self._remove(job)

    def liveness(self, execution: str) -> Liveness:
        """See the seam. One whose Job has ended counts as alive: whoever listens to it then hears why it is lost."""
        if not self._watch.synced:
            return Liveness.UNKNOWN
        job = self._watch.jobs.get(job_name(execution.partition("/")[0]))
        there = job is not None and job.execution == execution and not job.deleted
        return Liveness.ALIVE if there else Liveness.GONE

    def __len__(self) -> int:
        return len(self._guests)

    # -- for the doorkeeper ------------------------------------------------------------------------------------------

    def awaited(self, execution: str) -> tuple[ExecutionRequest, str] | None:
        """What awaits a pod here under this id, and the uid of its Job; None if nothing does."""
        guest = self._guests.get(execution)
        known = guest is not None and guest.job_uid and not guest.lost
        return (guest.request, guest.job_uid) if guest is not None and known else None

    def has_job(self, execution: str) -> bool:
        """Whether there is a Job of this execution that can still speak."""
        job = self._watch.jobs.get(job_name(execution.partition("/")[0]))
        return job is not None and job.execution == execution and job.can_speak

    @property
    def synced(self) -> bool:
        """Whether Jobs and pods were read."""
        return self._watch.synced

    def bound(self, execution: str, pod: RunPod) -> None:
        """This pod speaks for it from now on."""
        guest = self._guests.get(execution)
        if guest is not None and guest.pod is None:
            guest.pod = pod
            self._look(execution, guest)

    # -- what was seen -----------------------------------------------------------------------------------------------

    def _on_list(self, kind: ResourceKind, jobs: dict[str, SeenJob], pods: dict[str, SeenPod]) -> None:
        """Trap: a list may be older than what was made or bound meanwhile; what it does not show is asked for."""
        for execution, guest in tuple(self._guests.items()):
            if kind is BATCH_JOBS and guest.job_uid and guest.name not in self._watch.jobs and guest.name in jobs:
                self._watch.jobs[guest.name] = jobs[guest.name]
                self._spawn(self._confirm_job(execution, guest), f"look for the job of {execution}")
            self._confirm_pod(execution, guest)
            if self._watch.synced:
                self._look(execution, guest)
        if self._watch.synced:
            self._wake_waiting()

    def _on_job(self, job: SeenJob) -> None:
        guest = self._guests.get(job.execution)
        if guest is not None and self._watch.synced:
            self._look(job.execution, guest)

    def _on_pod(self, pod: SeenPod) -> None:
        if not self._watch.synced:
            return
        for execution, guest in tuple(self._guests.items()):
            if guest.pod is not None and guest.pod.uid == pod.uid:
                guest.pod_is_gone = pod.uid not in self._watch.pods
            elif not guest.job_uid or guest.job_uid != pod.job_uid:
                continue
            self._look(execution, guest, gone=pod if pod.uid not in self._watch.pods else None)

    def _look(self, execution: str, guest: Guest, gone: SeenPod | None = None) -> None:
        """Do what follows from what is known of one execution; `gone` is a pod of it as it was last."""
        if guest.lost:
            return
        job = self._watch.jobs.get(guest.name)
        if not guest.job_uid:
            if guest.making is None:
                guest.making = self._spawn(self._make(execution, guest), f"make the job of {execution}")
        elif job is None:
            self._lose(execution, guest, f"its Job {guest.name} is gone", gone)
        elif job.uid != guest.job_uid:
            self._lose(execution, guest, f"its Job {guest.name} was replaced by another one", gone)
        else:
            pod = self._pod(guest) or gone
            bound = guest.pod.name if guest.pod is not None else ""
            cause = cause_of_loss(job, self._pod(guest), bound=bound, pod_is_gone=guest.pod_is_gone)
            if cause:
                self._lose(execution, guest, cause, pod)
            elif guest.pod is None:
                self._tell_wait(execution, guest, job)
            elif (bound_pod := self._pod(guest)) is not None and bound_pod.deleted and not guest.pod_leaves:
                guest.pod_leaves = True
                self._spawn(self._leaves(execution, guest, bound_pod.name), f"end of the pod of {execution}")

    def _pod(self, guest: Guest) -> SeenPod | None:
        """The pod that speaks for it; before one does, any of its Job."""
        if guest.pod is not None:
            return self._watch.pods.get(guest.pod.uid)
        return next(iter(self._watch.pods_of(guest.job_uid)), None)

    def _tell_wait(self, execution: str, guest: Guest, job: SeenJob) -> None:
        """Say what keeps it from beginning, once for each reason."""
        found = next((pod for pod in self._watch.pods_of(job.uid) if pod.reason), None)
        reason = "Suspended" if job.suspended else found.reason if found is not None else ""
        if reason == guest.waits:
            return
        guest.waits = reason
        if job.suspended:
            self.tell_wait(execution, f"its Job {job.name} is suspended")
        elif found is not None:
            self.tell_wait(execution, f"its pod {found.name} does not start: {found.why}")
        else:
            self.tell_wait(execution, f"its pod, of the Job {job.name}, is to come")

    async def _leaves(self, execution: str, guest: Guest, name: str) -> None:
        await self._pause(DELETED_SECONDS)
        if self._guests.get(execution) is guest and not guest.lost:
            cause = f"pod {name} is being deleted, and its node {guest.pod.node if guest.pod else ''} does not end it"
            self._lose(execution, guest, cause, self._pod(guest))

    def _lose(self, execution: str, guest: Guest, cause: str, pod: SeenPod | None) -> None:
        guest.lost = True
        self._spawn(self._lost(execution, guest, cause, pod), f"end {execution}")

    async def _lost(self, execution: str, guest: Guest, cause: str, pod: SeenPod | None) -> None:
        """Trap: the Job's end may be shown before its pod's, which says why; so the pod is looked at first."""
        name = guest.pod.name if guest.pod is not None else pod.name if pod is not None else ""
        if name and (pod is None or not pod.why):
            try:
                found = await self._maker.find_pod(name)
            except (APIError, Unreachable):
                found = None
            if found is not None and found.why and (guest.pod is None or guest.pod.uid == found.uid):
                pod = found
        if pod is not None and pod.why and pod.why not in cause:
            cause = f"{cause}: {pod.why}"
        log.warning("execution %s is lost: %s", execution, cause, extra=guest.request.log_fields)
        self.lose(execution, cause, pod)

    async def _confirm_job(self, execution: str, guest: Guest) -> None:
        try:
            found = await self._maker.find_job(guest.name)
        except (APIError, Unreachable):
            return  # the next list, or the pod's silence, will tell
        if found is None and self._watch.jobs.pop(guest.name, None) is not None and execution in self._guests:
            self._look(execution, guest)

    def _confirm_pod(self, execution: str, guest: Guest) -> None:
        """Look for a pod that is bound and that the list does not show."""
        if guest.pod is not None and self._watch.synced and guest.pod.uid not in self._watch.pods:
            self._spawn(self._confirmed_pod(execution, guest, guest.pod), f"look for the pod of {execution}")

    async def _confirmed_pod(self, execution: str, guest: Guest, pod: RunPod) -> None:
        try:
            found = await self._maker.find_pod(pod.name)
        except (APIError, Unreachable):
            return
        if self._guests.get(execution) is not guest or pod.uid in self._watch.pods:
            return
        if found is not None and found.uid == pod.uid:
            self._watch.pods[pod.uid] = found
        else:
            guest.pod_is_gone = True
        self._look(execution, guest)

    # -- making and removing -----------------------------------------------------------------------------------------

    def _job_of(self, request: ExecutionRequest) -> CurationJob | None:
        stored = self._curation_jobs.get(request.namespace, request.job)
        if stored is None or stored.uid != request.run.uid:
            return None
        try:
            return stored.parse(CurationJob)
        except Unreadable:
            return None

    async def _make(self, execution: str, guest: Guest) -> None:
        """Make its Job, or take the one that is there; again and again until that is done."""
        tries, said = 0, ""
        while self._guests.get(execution) is guest and not guest.lost:
            job = self._job_of(guest.request)
            placed = job.spec.executor.job if job is not None else None
            made = await self._maker.make(guest.request, placed or GuestJob(), guest.artifact_bytes)
            if isinstance(made, SeenJob):
                guest.job_uid = made.uid
                self._watch.take_job(made)
                break
            if made != said:
                log.warning("the Job of %s is not made yet: %s", execution, made, extra=guest.request.log_fields)
                self.tell_wait(execution, f"its Job is not made yet: {made}")
                said = made
            await self._pause(retry_after(tries))
            tries += 1
        guest.making = None
        if self._guests.get(execution) is guest:
            self._look(execution, guest)

    def _remove(self, job: SeenJob) -> None:
        if job.uid not in self._removing and not job.deleted:
            self._removing.add(job.uid)
            task = self._spawn(self._maker.remove(job), f"remove the job {job.name}")
            task.add_done_callback(lambda _: self._removing.discard(job.uid))

    async def _sweep(self) -> None:
        """Remove the Jobs that no current run needs: of runs that ended while no process led.

        Trap: the Jobs were read anew when this process began to lead, what is known of their runs was not: a run may be
        shown a moment later. So only what was not needed the last time either goes.
        """
        before = set[str]()
        while True:
            if self._watch.synced:
                found = self.unneeded()
                for job in found:
                    if job.uid in before:
                        log.info("the Job %s is of no current run, and is removed", job.name)
                        self._remove(job)
                before = {job.uid for job in found}
            await self._pause(SWEEP_SECONDS if self._watch.synced else _UNSYNCED_SECONDS)

    async def _look_for_pods(self) -> None:
        """Say it where no pod is made: of a quota, or of a class that does not exist, the Job's Events alone tell."""
        without = set[str]()
        while True:
            await self._pause(NO_POD_SECONDS)
            found = set[str]()
            for execution, guest in tuple(self._guests.items()):
                job = self._watch.jobs.get(guest.name)
                waits = guest.pod is None and not guest.lost and not guest.waits and bool(guest.job_uid)
                if not waits or job is None or job.suspended or self._watch.pods_of(guest.job_uid):
                    continue
                found.add(execution)
                if execution in without:
                    guest.waits = "NoPod"
                    self.tell_wait(execution, f"no pod of its Job {job.name} was made yet; the Job's Events say why")
            without = found

    def unneeded(self) -> list[SeenJob]:
        """Jobs of runs that are not current, and are not dealt with here."""
        own = {guest.name for guest in self._guests.values()}
        others = [job for job in self._watch.jobs.values() if job.name not in own and not job.deleted]
        uids = {job.execution.split(".", 1)[0] for job in others}
        current = set[str]()
        for stored in self._curation_jobs if others else ():
            if stored.uid not in uids:
                continue
            try:
                status = stored.parse_once(CurationJob).status
            except Unreadable:
                continue
            if status.phase is Phase.SUBMITTED and status.run is not None:
                current.add(status.run.id)
        return [job for job in others if job.execution.partition("/")[0] not in current]

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended_task)
        return task

    def _ended_task(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("what keeps the pods of guests has failed: %s", error, exc_info=error)
