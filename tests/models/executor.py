"""An executor of one process, step by step, that may break what it can break without lying about what a run came to.

Adversarial on demand: a stop gets lost, an end is said twice or much later, an execution dies at any step with what
became of its calls unknown. Whatever it does, the job must come to the same end (docs/fence.md).
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from curation.api.names import Trigger
from curation.execution.seam import Ended, ExecutionRequest, Held, Lost, Sink, Word, process_liveness
from curation.lifecycle.outcome import Liveness, Report, RunKey
from tests.models.executions import Behaviour, Task, observe, submit
from tests.oracles.versions import revision

if TYPE_CHECKING:
    from tests.models.process import Process


@dataclass(eq=False)
class Execution:
    """A run, or an observation, that a process executes."""

    request: ExecutionRequest
    sink: Sink
    since: int
    """The version of its claim, or of the object that made it start."""
    launched: datetime
    task: str = ""
    stopped: bool = False
    unfenced: bool = False
    """A stop of it got lost."""
    end: Ended | Lost | None = None

    @property
    def run(self) -> RunKey:
        """What it is annotated with."""
        return self.request.run

    @property
    def trigger(self) -> Trigger:
        """Why it is executed."""
        return self.request.trigger

    def say(self, word: Word) -> None:
        """To whoever has started it."""
        self.sink(self.request.execution, word)


@dataclass
class AdversarialExecutor:
    """See `curation.execution.seam.Executor`. Its executions are tasks of the process."""

    process: "Process"
    executions: dict[str, Execution] = field(default_factory=dict)
    """Those that are not settled."""
    loses_next_stop: bool = False
    _stopped: set[str] = field(default_factory=set)

    def start(self, request: ExecutionRequest, sink: Sink) -> None:
        """Begin; of what is known already the end is said again."""
        known = self.executions.get(request.execution)
        if known is not None:
            known.sink = sink
            if known.end is not None:
                known.say(known.end)
            return
        world, known_now = self.process.world, self.process.known
        since = revision(known_now) if known_now is not None else 0
        if request.trigger is Trigger.SUBMIT:
            world.checker.launch(request.run.id)
            since = world.checker.claims[request.run.id].revision
        execution = Execution(request, sink, since, world.now)
        execution.stopped = request.execution in self._stopped
        self.executions[request.execution] = execution
        if request.trigger is Trigger.SUBMIT:
            behaviour = world.behaviours.pop(0) if world.behaviours else Behaviour()
            self._spawn("submit", execution, submit(self.process, execution, behaviour))
        else:
            assert request.session is not None
            self._spawn("observe", execution, observe(self.process, execution, request.session.id))

    def _spawn(self, kind: str, execution: Execution, task: Task) -> None:
        execution.task = self.process.spawn(kind, task)

    def attach(self, request: ExecutionRequest, sink: Sink) -> None:
        """What is not known here is lost."""
        known = self.executions.get(request.execution)
        if known is None:
            sink(request.execution, Lost("unknown"))
        else:
            self.start(known.request, sink)

    def stop(self, execution: str, why: str) -> None:
        """No further call of it leaves, unless this gets lost."""
        known = self.executions.get(execution)
        if self.loses_next_stop and known is not None:
            self.loses_next_stop, known.unfenced = False, True
        elif known is not None:
            known.stopped = True
        else:
            self._stopped.add(execution)

    def settled(self, execution: str) -> None:
        """Forget it, if it has ended."""
        self._stopped.discard(execution)
        known = self.executions.get(execution)
        if known is not None and known.end is not None:
            del self.executions[execution]

    def liveness(self, held: Held) -> Liveness:
        """Whether it goes on."""
        known = self.executions.get(held.execution)
        if known is None:
            return process_liveness(held, Liveness.UNKNOWN)
        return Liveness.ALIVE if known.end is None else Liveness.GONE

    async def drain(self, grace: float) -> None:
        """Processes of the model end by a crash."""

    def end(self, execution: Execution, report: Report) -> None:
        """It has ended."""
        execution.end = Ended(report)
        execution.say(execution.end)

    # -- what it does to those that rely on it -----------------------------------------------------------------------

    def lose(self, index: int) -> bool:
        """One that is under way dies where it is: nobody knows what has left, and a call on the wire goes on."""
        going = [each for each in self.executions.values() if each.end is None]
        if not going:
            return False
        execution = going[index % len(going)]
        self.process.tasks.pop(execution.task, None)
        execution.end = Lost("its process was killed")
        execution.say(execution.end)
        return True

    def repeat(self, index: int) -> bool:
        """The end of one that is not settled is said again."""
        ended = [each for each in self.executions.values() if each.end is not None]
        if not ended:
            return False
        execution = ended[index % len(ended)]
        assert execution.end is not None
        execution.say(execution.end)
        return True
