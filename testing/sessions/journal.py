"""The log of every call, in the order of arrival: what the tests' verdicts rest on."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from testing.sessions.caller import RunCaller

_SECRET = frozenset({"authorization", "proxy-authorization", "cookie", "x-api-key"})


@dataclass
class Entry:
    """One call. Times are seconds since 1970 by a clock that never goes back while the service runs."""

    number: int
    time: float
    caller: RunCaller
    method: str
    path: str
    idempotency_key: str | None
    headers: dict[str, str] = field(default_factory=dict)
    answered: float | None = None
    status: int | None = None
    performed: bool = False
    replayed: bool = False
    dropped: bool = False

    def as_json(self) -> dict[str, Any]:
        """The entry as it is answered. `status` and `answered` are null until the answer is given."""
        return {
            "number": self.number,
            "time": self.time,
            "answered": self.answered,
            "runID": self.caller.run_id,
            "job": self.caller.job,
            "generation": self.caller.generation,
            "attempt": self.caller.attempt,
            "trigger": self.caller.trigger,
            "method": self.method,
            "path": self.path,
            "status": self.status,
            "performed": self.performed,
            "replayed": self.replayed,
            "dropped": self.dropped,
            "idempotencyKey": self.idempotency_key,
            "headers": self.headers,
        }


class Journal:
    """All calls since the start."""

    def __init__(self, changed: Callable[[], None], secret_header: str | None) -> None:
        self.entries: list[Entry] = []
        self._changed = changed
        self._secret = _SECRET | ({secret_header.lower()} if secret_header else set())
        self._offset = time.time() - time.monotonic()

    def arrived(self, caller: RunCaller, method: str, path: str, headers: Mapping[str, str]) -> Entry:
        """Records a call at its arrival."""
        shown = {name.lower(): "redacted" if name.lower() in self._secret else text for name, text in headers.items()}
        key = headers.get("Idempotency-Key")
        entry = Entry(len(self.entries) + 1, self._now(), caller, method, path, key, shown)
        self.entries.append(entry)
        self._changed()
        return entry

    def answered(self, entry: Entry, status: int | None) -> None:
        """Records the answer; none means that the connection was closed without one."""
        entry.answered = self._now()
        entry.status = status
        entry.dropped = status is None
        self._changed()

    def find(self, run: str | None = None, job: str | None = None) -> list[Entry]:
        """The calls of a run or of a job, or all."""
        return [
            entry
            for entry in self.entries
            if (run is None or entry.caller.run_id == run) and (job is None or entry.caller.job == job)
        ]

    def _now(self) -> float:
        return time.monotonic() + self._offset
