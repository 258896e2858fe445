"""What a process executes, and how each execution ends: in one report, which becomes a completion.

Tasks are generators; each `yield` is a place where other tasks, processes, people, faults and crashes come in between.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from curation.api.approval import EvaluatedRequest
from curation.api.job import CurationJob, Run
from curation.api.names import FailureClass, Trigger
from curation.execution.seam import Answered, Left
from curation.lifecycle.outcome import (
    Calls,
    Completed,
    Denied,
    Failed,
    Report,
    Result,
    RunKey,
    SessionFailed,
    SessionRef,
    SessionSpawned,
    StillRunning,
)
from tests.models.documents import DIGEST, WALL, Request
from tests.models.sessions import State

if TYPE_CHECKING:
    from tests.models.executor import Execution
    from tests.models.process import Process

Task = Iterator[str]


@dataclass(frozen=True)
class Step:
    """Is awaited by the operator's own coroutines: something else may come in between."""

    label: str

    def __await__(self) -> Generator[str, None, None]:
        yield self.label


DENIED_REQUEST = EvaluatedRequest(
    module="module",
    module_digest=DIGEST,
    trigger=Trigger.SUBMIT,
    method="POST",
    scheme="https",
    host="sessions.example",
    port=443,
    path="/sessions",
)


@dataclass(frozen=True)
class Behaviour:
    """What a run does: creations of a session and other calls, then how it ends."""

    calls: tuple[bool, ...] = (True, False)
    """For each call whether it creates a session."""
    end: FailureClass | None = None
    """How it fails after its calls; None if it does not."""
    tolerant: bool = False
    """Goes on after a denied call."""


def run_key(job: CurationJob, run: Run) -> RunKey:
    """What a run is annotated with."""
    return RunKey(job.metadata.uid, run.id, run.generation, run.attempt, run.template_digest)


def submit(process: "Process", execution: "Execution", behaviour: Behaviour) -> Task:
    """Execute a run."""
    world, run_id = process.world, execution.run.id
    result: Result | None = None
    left = answered = allowed = 0
    session: str | None = None
    for number, creates in enumerate(behaviour.calls):
        yield "about to call"
        if execution.stopped:
            result = Failed(FailureClass.MODULE_ERROR, "the call was cancelled")
            break
        if not world.allowed:
            if behaviour.tolerant:
                continue
            result = Denied(DENIED_REQUEST, "the call was denied")
            break
        allowed += 1
        execution.say(Left(number))
        if not execution.unfenced:
            world.checker.departure(process, run_id, Trigger.SUBMIT, execution.since)
        request = Request(run_id, f"{run_id}/{number}", creates, until=execution.launched + WALL)
        world.wire.append(request)
        left += 1
        while not request.carried_out and world.now <= execution.launched + WALL:
            yield "on the wire"
        if not request.carried_out:
            result = Failed(FailureClass.TIMEOUT, "past the wall limit")
            break
        answered += 1
        execution.say(Answered(number))
        if creates and request.session is None:
            result = Failed(FailureClass.MODULE_ERROR, "the service says that the run is cancelled")
            break
        session = request.session or session
    if result is None and behaviour.end is not None:
        result = Failed(behaviour.end, "the module failed")
    if result is None:
        result = SessionSpawned(SessionRef(session)) if session is not None else Completed({"done": True})
    yield "ended"
    process.executor.end(execution, Report(Trigger.SUBMIT, execution.run, result, Calls(left, answered, allowed)))


def observe(process: "Process", execution: "Execution", session: str) -> Task:
    """Observe a session."""
    world = process.world
    yield "about to call"
    result: Result
    if execution.stopped:
        result = Failed(FailureClass.MODULE_ERROR, "the call was cancelled")
    elif not world.allowed:
        result = Denied(DENIED_REQUEST, "the call was denied")
    else:
        if not execution.unfenced:
            world.checker.departure(process, execution.run.id, Trigger.OBSERVE, execution.since)
        yield "on its way"
        match world.service.states[session]:
            case State.LIVE:
                result = StillRunning({"at": world.now.isoformat()})
            case State.COMPLETED:
                result = Completed({"done": True})
            case State.FAILED | State.CANCELLED as state:
                result = SessionFailed(f"the session is {state}")
    yield "ended"
    process.executor.end(execution, Report(Trigger.OBSERVE, execution.run, result, Calls(1, 1, 1)))
