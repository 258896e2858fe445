"""The state machine of one job (hypothesis): whatever people, the network, the clock and crashes may do to it.

Every rule is one thing that happens in `tests.models.world`; each example ends at rest, where I8 must hold.
"""

from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from curation.api.names import FailureClass
from tests.models.executions import Behaviour
from tests.models.process import Process
from tests.models.sessions import State
from tests.models.world import World

INDEX = st.integers(0, 40)
BEHAVIOURS = (
    Behaviour(),
    Behaviour((True,)),
    Behaviour((False,)),  # needs no session
    Behaviour((False, True), tolerant=True),
    Behaviour((), FailureClass.TIMEOUT),
    Behaviour((True,), FailureClass.HTTP_UNAVAILABLE),  # fails after it created a session
    Behaviour((True, False), FailureClass.TRAP),
)


class JobMachine(RuleBasedStateMachine):
    """One job, one or two operators."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.checked = 0
        self.writes = 1

    def _process(self, index: int) -> Process:
        return self.world.processes[index % len(self.world.processes)]

    @initialize(
        behaviours=st.lists(st.sampled_from(BEHAVIOURS), max_size=4),
        on_denied=st.sampled_from(["AwaitApproval", "Fail"]),
        tombstones=st.booleans(),
        referring=st.booleans(),
    )
    def begin(self, behaviours: list[Behaviour], on_denied: str, tombstones: bool, referring: bool = False) -> None:
        self.world.referring = referring
        self.world.behaviours = behaviours
        self.world.service.tombstones = tombstones
        self.world.create("A", onDenied=on_denied)
        self.world.start()

    # -- people ------------------------------------------------------------------------------------------------------

    @rule(work=st.sampled_from("ABC"))
    def edit_template(self, work: str) -> None:
        self.world.edit_template(work)

    @rule(there=st.sampled_from("ABC"), back=st.sampled_from("ABC"), received=st.booleans())
    def edit_and_edit_back(self, there: str, back: str, received: bool) -> None:
        """Two changes in a row, which all operators have seen before anything else happens, or not."""
        for work in (there, back):
            self.world.edit_template(work)
            for process in self.world.processes if received else ():
                while process.deliver():
                    pass

    @rule(token=st.sampled_from(["1", "2"]))
    def rerun(self, token: str) -> None:
        self.world.edit(rerun=token)

    @precondition(lambda self: self.world.referring)
    @rule(there=st.sampled_from([True, True, True, False]))
    def write_config_map(self, there: bool) -> None:
        """What the job names is changed, or goes; it comes back with other contents."""
        self.writes += 1
        self.world.contents = self.writes if there else None

    @rule(limit=st.integers(0, 3))
    def edit_control(self, limit: int) -> None:
        self.world.edit(retry={"limit": limit})

    @rule(suspend=st.booleans())
    def suspend_or_resume(self, suspend: bool) -> None:
        self.world.edit(suspend=suspend)

    @rule()
    def label(self) -> None:
        self.world.label()

    @rule()
    def delete(self) -> None:
        self.world.delete()

    @precondition(lambda self: self.world.job() is None)
    @rule(work=st.sampled_from("AB"))
    def recreate(self, work: str) -> None:
        self.world.create(work)

    @rule(allowed=st.booleans(), refused=st.sampled_from([False, False, True]))
    def decide_approval(self, allowed: bool, refused: bool) -> None:
        self.world.allowed, self.world.refused = allowed, refused

    # -- the world ---------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 10, 121, 1000]))
    def time_passes(self, seconds: int) -> None:
        self.world.now += timedelta(seconds=seconds)

    @rule(fault=st.sampled_from(["lost answer", "lost request", "refused"]))
    def fault(self, fault: Any) -> None:
        self.world.fault = fault

    @rule()
    def cancel_fails(self) -> None:
        self.world.cancel_fails = True

    @precondition(lambda self: self.world.wire)
    @rule(index=INDEX)
    def service_works(self, index: int) -> None:
        self.world.carry_out(self.world.wire[index % len(self.world.wire)])

    @rule(state=st.sampled_from([State.COMPLETED, State.FAILED]))
    def session_ends(self, state: State) -> None:
        self.world.end_session(state)

    # -- operators ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.world.processes) < 2)
    @rule()
    def start_operator(self) -> None:
        self.world.start()

    @precondition(lambda self: self.world.processes)
    @rule(index=INDEX)
    def crash(self, index: int) -> None:
        self.world.crash(self._process(index))

    @precondition(lambda self: self.world.processes)
    @rule(index=INDEX)
    def watch_delivers(self, index: int) -> None:
        self._process(index).deliver()

    @precondition(lambda self: self.world.processes)
    @rule(index=INDEX, event=INDEX)
    def watch_repeats(self, index: int, event: int) -> None:
        self._process(index).deliver(event % len(self.world.api.events))

    @precondition(lambda self: self.world.processes)
    @rule(index=INDEX, tasks=st.lists(INDEX, min_size=1, max_size=6))
    def operator_steps(self, index: int, tasks: list[int]) -> None:
        """Some tasks go on by one step each, in any order; what is due is started first."""
        process = self._process(index)
        process.start_reconcile()
        for task in tasks:
            if process.tasks:
                process.step(list(process.tasks)[task % len(process.tasks)])

    @precondition(lambda self: self.world.processes)
    @rule(index=INDEX)
    def operator_works(self, index: int) -> None:
        self._process(index).work()

    @precondition(lambda self: self.world.processes)
    @rule(index=INDEX)
    def observation_starts(self, index: int) -> None:
        self._process(index).start_observation()

    @precondition(lambda self: any(process.reports for process in self.world.processes))
    @rule(index=INDEX)
    def completion_repeats(self, index: int) -> None:
        reports = [(process, report) for process in self.world.processes for report in process.reports]
        process, report = reports[index % len(reports)]
        process.complete(report)

    @precondition(lambda self: self.world.processes)
    @rule(index=INDEX)
    def stop_gets_lost(self, index: int) -> None:
        self._process(index).executor.loses_next_stop = True

    @precondition(lambda self: self.world.processes)
    @rule(index=INDEX, execution=INDEX)
    def execution_is_lost(self, index: int, execution: int) -> None:
        self._process(index).executor.lose(execution)

    @precondition(lambda self: self.world.processes)
    @rule(index=INDEX, execution=INDEX)
    def end_is_said_again(self, index: int, execution: int) -> None:
        self._process(index).executor.repeat(execution)

    # -- what always holds -------------------------------------------------------------------------------------------

    @invariant()
    def history_is_sound(self) -> None:
        if self.checked != len(self.world.api.events):
            self.checked = len(self.world.api.events)
            self.world.check()

    def teardown(self) -> None:
        self.world.drain()
