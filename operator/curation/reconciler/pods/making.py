"""The calls that make and remove the Job of one run; what comes of them is said in words, and nothing raises."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from curation.api.executor import GuestJob
from curation.api.names import ANNOTATION_RUN_ID
from curation.cluster.answers import APIError, Created, Exists, Refused, Throttled, Unreachable
from curation.cluster.api import ClusterAPI
from curation.cluster.resources import BATCH_JOBS, PODS
from curation.execution.seam import ExecutionRequest
from curation.pods.manifest import PodSettings, as_made, job_document
from curation.reconciler.pods.seen import SeenJob, SeenPod, job_of_document, pod_of_document

log = logging.getLogger(__name__)

RETRIES: Final = (0.2, 0.5, 1.0, 2.0, 5.0, 15.0)
"""Seconds after the first, the second... failure."""
MAX_SAID: Final = 512


def retry_after(tries: int) -> float:
    """Seconds after so many failures in a row."""
    return RETRIES[min(tries, len(RETRIES) - 1)]


class JobMaker:
    """Of one operator, in its one namespace of guests."""

    def __init__(
        self,
        api: ClusterAPI,
        settings: Callable[[], PodSettings | str],
        namespace: str,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`settings` are those of pods that are made now, or why none can be."""
        self._api = api
        self._settings = settings
        self._namespace = namespace
        self._pause = pause

    async def make(self, request: ExecutionRequest, placed: GuestJob, artifact_bytes: int) -> SeenJob | str:
        """Try once to make the Job of this run; the Job, or why there is none yet."""
        settings = self._settings()
        if isinstance(settings, str):
            return settings
        wanted = job_document(request, placed, settings, artifact_bytes)
        match await self._api.create(BATCH_JOBS, self._namespace, wanted):
            case Created(found):
                return job_of_document(found) or "the API server has made another Job than was asked for"
            case Exists():
                return await self._there(request, wanted)
            case Refused(code, reason, message):
                return f"the API server refuses it: {code} {reason}: {message[:MAX_SAID]}"
            case Throttled(after):
                await self._pause(after)
                return "the API server asks for patience"
            case _:
                return "the API server gave no answer"

    async def _there(self, request: ExecutionRequest, wanted: Any) -> SeenJob | str:
        """Of an earlier try whose answer was lost, or of the process that led before. A stranger's is removed."""
        name = wanted["metadata"]["name"]
        try:
            found = await self._api.get(BATCH_JOBS, self._namespace, name)
            if found is None:
                return "a Job of its name was there a moment ago"
            metadata, job = found["metadata"], job_of_document(found)
            run = (metadata.get("annotations") or {}).get(ANNOTATION_RUN_ID)
            if job is not None and run == request.run.id and not job.deleted and as_made(wanted, found):
                return job
            await self._api.delete(BATCH_JOBS, self._namespace, name, uid=metadata["uid"], resource_version=None)
        except (APIError, Unreachable) as error:
            return f"a Job of its name is there, and cannot be dealt with: {str(error)[:MAX_SAID]}"
        return "a Job of its name is there which is not as this operator makes it; it is being removed"

    async def remove(self, job: SeenJob) -> None:
        """Remove exactly this Job, and its pods behind it; tried again until it is done."""
        tries = 0
        while True:
            try:
                await self._api.delete(BATCH_JOBS, self._namespace, job.name, uid=job.uid, resource_version=None)
                return
            except (APIError, Unreachable) as error:
                if tries == 0:
                    log.warning("the Job %s/%s is not removed yet: %s", self._namespace, job.name, error)
            await self._pause(retry_after(tries))
            tries += 1

    async def find_job(self, name: str) -> SeenJob | None:
        """The Job as it is now. Raises APIError and Unreachable."""
        found = await self._api.get(BATCH_JOBS, self._namespace, name)
        return job_of_document(found) if found is not None else None

    async def find_pod(self, name: str) -> SeenPod | None:
        """The pod as it is now. Raises APIError and Unreachable."""
        found = await self._api.get(PODS, self._namespace, name)
        return pod_of_document(found) if found is not None else None
