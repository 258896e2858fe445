"""Workspaces, sessions and tombstones. No I/O and no waiting: each operation is one step, so none can interleave."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from testing.sessions.caller import RunCaller, job_of
from testing.sessions.errors import Refusal

LIVE = ("created", "running")

_ADJECTIVES = (
    "amber",
    "brisk",
    "calm",
    "deft",
    "eager",
    "frank",
    "gentle",
    "hardy",
    "keen",
    "lucid",
    "mellow",
    "noble",
)
_NOUNS = ("badger", "crane", "dipper", "egret", "finch", "heron", "ibis", "lark", "marten", "otter", "plover", "wren")


@dataclass
class Workspace:
    """A place for sessions."""

    id: str
    name: str
    caller: RunCaller
    state: str = "active"

    def as_json(self) -> dict[str, Any]:
        """The workspace as it is answered."""
        return {"id": self.id, "name": self.name, "state": self.state, "runID": self.caller.run_id}


@dataclass
class Session:
    """An agent session. It lives while `created` or `running`."""

    id: str
    url: str
    workspace: str
    message: str
    title: str | None
    agent: str | None
    caller: RunCaller
    state: str = "created"
    settings: dict[str, Any] = field(default_factory=dict)
    progress: Any = None
    output: Any = None
    reason: str | None = None

    @property
    def live(self) -> bool:
        """Whether an agent works in it, or will."""
        return self.state in LIVE

    def as_json(self) -> dict[str, Any]:
        """The session as it is answered."""
        return {
            "id": self.id,
            "state": self.state,
            "runID": self.caller.run_id,
            "job": self.caller.job,
            "generation": self.caller.generation,
            "attempt": self.caller.attempt,
            "progress": self.progress,
            "output": self.output,
            "reason": self.reason,
            "url": self.url,
            "workspace": self.workspace,
            "title": self.title,
            "agent": self.agent,
            "message": self.message,
            "settings": self.settings,
        }


class Store:
    """The service's memory."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.workspaces: dict[str, Workspace] = {}
        self.sessions: dict[str, Session] = {}
        self.tombstones: set[str] = set()
        self._changed = changed

    def create_workspace(self, caller: RunCaller, name: str | None) -> Workspace:
        """A new workspace.

        :raises Refusal: 410 when the caller's run was cancelled.
        """
        self._refuse_the_dead(caller)
        identifier = _identifier("workspace")
        workspace = self.workspaces[identifier] = Workspace(identifier, name or identifier, caller)
        self._changed()
        return workspace

    def create_session(
        self, caller: RunCaller, base_url: str, workspace: str, message: str, title: str | None, agent: str | None
    ) -> Session:
        """A new session in a workspace.

        :raises Refusal: 410 when the caller's run was cancelled, 404 for an unknown workspace, 409 for a cancelled one.
        """
        self._refuse_the_dead(caller)
        place = self.workspaces.get(workspace)
        if place is None:
            raise Refusal(404, f"there is no workspace {workspace}")
        if place.state != "active":
            raise Refusal(409, f"the workspace {workspace} is {place.state}")
        identifier = _identifier("session")
        url = f"{base_url}/sessions/{identifier}"
        session = Session(identifier, url, workspace, message, title, agent, caller)
        self.sessions[identifier] = session
        self._changed()
        return session

    def get(self, identifier: str) -> Session:
        """A session.

        :raises Refusal: 404 when it is unknown.
        """
        if (session := self.sessions.get(identifier)) is None:
            raise Refusal(404, f"there is no session {identifier}")
        return session

    def configure(self, identifier: str, settings: dict[str, Any]) -> Session:
        """Gives a live session its settings, which sets it running."""
        session = self._live(identifier)
        session.settings.update(settings)
        session.state = "running"
        self._changed()
        return session

    def report(self, identifier: str, progress: Any) -> Session:
        """Records what a live session says of its progress."""
        session = self._live(identifier)
        session.progress = progress
        self._changed()
        return session

    def end(self, identifier: str, state: str, *, output: Any = None, reason: str | None = None) -> Session:
        """Ends a live session as `completed` or `failed`."""
        session = self._live(identifier)
        session.state, session.output, session.reason = state, output, reason
        self._changed()
        return session

    def cancel(self, identifier: str) -> Session:
        """Ends a session if it lives; one that has ended stays as it is."""
        session = self.get(identifier)
        if session.live:
            session.state = "cancelled"
            self._changed()
        return session

    def cancel_run(self, run_id: str) -> dict[str, Any]:
        """Cancels what the run has created, and what it may yet try to create: the run id is refused from now on."""
        self.tombstones.add(run_id)
        sessions = [s for s in self.sessions.values() if s.caller.run_id == run_id and s.live]
        workspaces = [w for w in self.workspaces.values() if w.caller.run_id == run_id and w.state == "active"]
        for session in sessions:
            session.state = "cancelled"
        for workspace in workspaces:
            workspace.state = "cancelled"
        self._changed()
        return {"runID": run_id, "sessions": [s.id for s in sessions], "workspaces": [w.id for w in workspaces]}

    def find(
        self, *, run: str | None = None, job: str | None = None, state: str | None = None, live: bool | None = None
    ) -> list[Session]:
        """The sessions that fit all that is given, oldest first."""
        return [
            session
            for session in self.sessions.values()
            if (run is None or session.caller.run_id == run)
            and (job is None or job_of(session.caller.run_id) == job)
            and (state is None or session.state == state)
            and (live is None or session.live == live)
        ]

    def _live(self, identifier: str) -> Session:
        session = self.get(identifier)
        if not session.live:
            raise Refusal(409, f"the session {identifier} is {session.state}")
        return session

    def _refuse_the_dead(self, caller: RunCaller) -> None:
        if caller.run_id in self.tombstones:
            raise Refusal(410, f"the run {caller.run_id} was cancelled")


def _identifier(kind: str) -> str:
    """Readable in a table, and not to be guessed: 64 random bits."""
    return f"{kind}-{secrets.choice(_ADJECTIVES)}-{secrets.choice(_NOUNS)}-{secrets.token_hex(8)}"
