"""A session service as its contract asks for one: sessions by run id, idempotent creation, tombstones."""

from dataclasses import dataclass, field
from enum import StrEnum


class State(StrEnum):
    """What became of a session."""

    LIVE = "Live"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"


@dataclass
class SessionService:
    """The witness: it alone knows which sessions live."""

    tombstones: bool = True
    """Whether the Cancel of a run that has created nothing forbids it to create anything later."""
    states: dict[str, State] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    """Session id to the id of the run that created it."""
    _replayed: dict[str, str] = field(default_factory=dict)
    _buried: set[str] = field(default_factory=set)

    def create(self, run_id: str, idempotency_key: str) -> str | None:
        """Start a session and give its id; None for a run that is cancelled."""
        if idempotency_key in self._replayed:
            return self._replayed[idempotency_key]
        if run_id in self._buried:
            return None
        session = f"session-{len(self.states) + 1}"
        self.states[session], self.runs[session] = State.LIVE, run_id
        self._replayed[idempotency_key] = session
        return session

    def end(self, session: str, state: State) -> None:
        """A live session ends by itself."""
        if self.states[session] is State.LIVE:
            self.states[session] = state

    def cancel(self, run_id: str, session: str | None) -> None:
        """Cancel that session, or all that the run has created. One that has ended or is unknown is cancelled."""
        if session is None and self.tombstones:
            self._buried.add(run_id)
        for each in [session] if session is not None else [s for s, run in self.runs.items() if run == run_id]:
            if self.states.get(each) is State.LIVE:
                self.states[each] = State.CANCELLED

    def live(self, uid: str) -> set[str]:
        """The live sessions that runs of this job have created."""
        return {
            session
            for session, run_id in self.runs.items()
            if self.states[session] is State.LIVE and run_id.startswith(f"{uid}.")
        }
