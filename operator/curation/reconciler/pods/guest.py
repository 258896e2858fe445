"""One execution whose guest is, or is to be, in a pod: what its keeper knows of it."""

import asyncio
from dataclasses import dataclass

from curation.api.job import RunPod
from curation.execution.seam import ExecutionRequest
from curation.pods.manifest import job_name


@dataclass(slots=True, eq=False)
class Guest:
    """One execution that has, or is to have, a Job."""

    request: ExecutionRequest
    artifact_bytes: int
    pod: RunPod | None = None
    """The one that may speak for it, once one has come."""
    job_uid: str = ""
    """Of its Job, once that was made or looked at here, or its pod names it."""
    pod_is_gone: bool = False
    """The pod that is bound was looked for, and is not there."""
    pod_leaves: bool = False
    """The pod that is bound is being deleted, and is given a while to say what it came to."""
    making: "asyncio.Task[None] | None" = None
    lost: bool = False
    waits: str = ""
    """The first word of what was said last of why it does not begin."""

    @property
    def name(self) -> str:
        """Of its Job."""
        return job_name(self.request.run.id)
