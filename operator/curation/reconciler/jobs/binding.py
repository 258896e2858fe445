"""The write that binds a run to its pod: asked for at the door, made by the job's reconciler, conditioned as every one.

Until it has landed the pod is not let in. So of two pods that come for one run, at two replicas even, one is.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from curation.api.job import CurationJob, RunPod, status_to_wire
from curation.cluster.cache import Stored
from curation.lifecycle.binding import bind, shows
from curation.lifecycle.outcome import RunKey
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import RETRY, Result
from curation.reconciler.runtime.unreadable import job_of
from curation.reconciler.runtime.writes import settle

if TYPE_CHECKING:
    from curation.reconciler.jobs.memory import Memories

WRITE_ATTEMPTS = 5
MAX_ASKED = 4
"""Pods of one run that are asked about at a time: there is one, or a second by mistake."""
WHAT = "the pod of its run"
"""See `Refusals`."""


@dataclass(eq=False, slots=True)
class AskedBinding:
    """A pod that asks to speak for a run."""

    run: RunKey
    pod: RunPod
    answer: "asyncio.Future[str]"
    """Why it may never; empty: it is bound, and the status says so. Cancelled by who waits for it no longer."""

    def say(self, refusal: str) -> None:
        """Answer, if anybody waits still."""
        if not self.answer.done():
            self.answer.set_result(refusal)


async def ask_binding(context: Context, memories: "Memories", key: Key, run: RunKey, pod: RunPod) -> str:
    """Why this pod may never speak for this run; empty once the status says that it does."""
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    memory = memories.of(key, run.uid)
    if len(memory.bindings) >= MAX_ASKED:
        raise TimeoutError("too many pods ask for one run at a time")
    memory.bindings.append(AskedBinding(run, pod, answer))
    context.wake(key)
    try:
        return await answer
    finally:
        answer.cancel()


async def settle_binding(context: Context, key: Key, asked: AskedBinding) -> Result | None:
    """Bring it to its answer; else when to try again."""
    for _ in range(WRITE_ATTEMPTS):
        if asked.answer.done():
            return None
        stored = context.cache(key).get(key.namespace, key.name)
        job, fault = job_of(stored) if stored is not None else (None, None)
        if fault is not None:
            asked.say(f"the job cannot be read: {fault}")
            return None
        binding = bind(job, asked.run, asked.pod, context.clock.now())
        if binding.bound or binding.status is None or job is None or stored is None:
            context.refusals.ended(key, WHAT)
            asked.say(binding.refusal)
            return None
        old, new = status_to_wire(job.status), status_to_wire(binding.status)
        answer = await context.write_status(key, stored.resource_version, old, new)
        if answer is None:
            return RETRY
        outcome = await settle(context, key, answer, WHAT, partial(_shows, asked))
        if outcome.landed:
            asked.say("")
            return None
        if not outcome.at_once:
            return outcome.result
    return RETRY


def _shows(asked: AskedBinding, newest: Stored) -> bool:
    job: CurationJob = job_of(newest)[0]
    return shows(job, asked.run, asked.pod)
