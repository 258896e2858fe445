"""The Jobs and pods of guests, as far as this process has seen them: those of this operator, in its one namespace."""

import logging
from collections.abc import Callable
from typing import Any, Final

from curation.api.names import LABEL_GUESTS_OF
from curation.cluster.connection import Connection
from curation.cluster.follow import Changed, Failed, Listed, follow
from curation.cluster.resources import BATCH_JOBS, PODS, ResourceKind
from curation.reconciler.pods.seen import SeenJob, SeenPod, job_of_document, pod_of_document

log = logging.getLogger(__name__)

_KINDS: Final = (BATCH_JOBS, PODS)


class GuestWatch:
    """Run `follow` for each of `KINDS`, in tasks of whoever has this."""

    KINDS: Final = _KINDS

    def __init__(self, connection: Connection, namespace: str, instance: str) -> None:
        self._connection = connection
        self._namespace = namespace
        self._selector = f"{LABEL_GUESTS_OF}={instance}"
        self._read: set[ResourceKind] = set()
        self._problems: dict[ResourceKind, str] = {}
        self.jobs: dict[str, SeenJob] = {}
        """By name."""
        self.pods: dict[str, SeenPod] = {}
        """By uid."""
        self.on_list: Callable[[ResourceKind, dict[str, SeenJob], dict[str, SeenPod]], None] = lambda *_: None
        """After a list: with what was known of that kind before, which the list may be older than."""
        self.on_job: Callable[[SeenJob], None] = lambda _: None
        self.on_pod: Callable[[SeenPod], None] = lambda _: None
        """One has changed, or is gone."""
        self.on_problem: Callable[[], None] = lambda: None
        """There is a problem, or there is none any more."""

    @property
    def synced(self) -> bool:
        """Whether both were read."""
        return self._read.issuperset(_KINDS)

    @property
    def problem(self) -> str:
        """Why they cannot be read, and what helps; empty if they can."""
        return next(iter(self._problems.values()), "")

    async def follow(self, kind: ResourceKind) -> None:
        """Without end."""
        async for news in follow(self._connection, kind, self._namespace, label_selector=self._selector):
            match news:
                case Listed(objects):
                    self._listed(kind, objects)
                case Changed(document, gone):
                    self._changed(kind, document, gone=gone)
                case Failed(forbidden, message):
                    self._failed(kind, message, forbidden=forbidden)

    def take_job(self, job: SeenJob) -> None:
        """It was read or made otherwise; the watch may show it later."""
        known = self.jobs.get(job.name)
        if known is None or known.uid != job.uid:
            self.jobs[job.name] = job

    def _is_newer(self, job: SeenJob) -> bool:
        """Trap: of a Job that was removed and made anew the watch may show the one before after the answer to that."""
        known = self.jobs.get(job.name)
        return known is None or known.uid == job.uid or known.version <= job.version

    def job_with(self, uid: str) -> SeenJob | None:
        """The Job with this uid."""
        return next((job for job in self.jobs.values() if job.uid == uid), None)

    def pods_of(self, job_uid: str) -> list[SeenPod]:
        """The pods of a Job."""
        return [pod for pod in self.pods.values() if job_uid and pod.job_uid == job_uid]

    def _listed(self, kind: ResourceKind, objects: list[Any]) -> None:
        jobs, pods = self.jobs, self.pods
        if kind is BATCH_JOBS:
            listed = [job for job in map(job_of_document, objects) if job is not None]
            self.jobs = {job.name: job if self._is_newer(job) else jobs[job.name] for job in listed}
        else:
            self.pods = {pod.uid: pod for pod in map(pod_of_document, objects)}
        self._read.add(kind)
        if self._problems.pop(kind, ""):
            self.on_problem()
        self.on_list(kind, jobs, pods)

    def _changed(self, kind: ResourceKind, document: Any, *, gone: bool) -> None:
        if kind is BATCH_JOBS:
            job = job_of_document(document)
            if job is None:
                return
            if not gone:
                if self._is_newer(job):
                    self.jobs[job.name] = job
            elif (known := self.jobs.get(job.name)) is not None and known.uid == job.uid:
                del self.jobs[job.name]
            self.on_job(job)
        else:
            pod = pod_of_document(document)
            if gone:
                self.pods.pop(pod.uid, None)
            else:
                self.pods[pod.uid] = pod
            self.on_pod(pod)

    def _failed(self, kind: ResourceKind, message: str, *, forbidden: bool) -> None:
        said = f"The {kind.plural} of the namespace {self._namespace} cannot be read: {message}"
        log.warning("%s", said)
        if forbidden or kind not in self._read:
            self._problems[kind] = f"{said}. Apply manifests/components/guest-pods, or set --guest-namespace."
            self.on_problem()
