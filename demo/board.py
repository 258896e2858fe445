"""All that is known at this moment, and waiting for it to change.

Filled by `watching`, read by the table and by the acts. One event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from demo.facts import Call, Job, Metrics, Session, dropped_run, killed

WAIT_SECONDS: Final = 120.0
"""For one thing to happen: 50 times what an idle machine needs. A demo that hangs longer than this has failed."""


class DemoFailed(Exception):
    """The demo has not shown what it is to show; the message says what went wrong."""


class Board:
    """What the API server, the operator and the session service last said."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.history: dict[str, list[Job]] = {}
        self.dropped: dict[str, list[str]] = {}
        self.sessions: Sequence[Session] = ()
        self.calls: Sequence[Call] = ()
        self.metrics = Metrics()
        self._failure: DemoFailed | None = None
        self._change = asyncio.Event()

    def saw_job(self, kind: str, document: dict[str, Any]) -> None:
        """One event of the watch of jobs."""
        job = Job.parse(document)
        if kind == "DELETED":
            self.jobs.pop(job.name, None)
            return self.fail(f"{job.name} was deleted by somebody")
        self.jobs[job.name] = job
        versions = self.history.setdefault(job.name, [])
        versions.append(job)
        if said := killed(versions):
            return self.fail(f"a healthy session was killed: {said}")
        return self.changed()

    def saw_event(self, document: dict[str, Any]) -> None:
        """One event of the watch of Events."""
        if document.get("reason") == "StaleCompletionDropped":
            runs = self.dropped.setdefault(document["regarding"]["name"], [])
            run = dropped_run(document.get("note", ""))
            if run not in runs:
                runs.append(run)
            self.changed()

    def saw_sessions(self, sessions: Sequence[Session], calls: Sequence[Call]) -> None:
        """What the session service has."""
        self.sessions, self.calls = sessions, calls
        self.changed()

    def saw_metrics(self, metrics: Metrics) -> None:
        """One scrape of the operator."""
        self.metrics = metrics
        self.changed()

    def changed(self) -> None:
        """Wake those that wait."""
        self._change.set()
        self._change = asyncio.Event()

    def fail(self, why: str) -> None:
        """End the demo: whoever waits raises DemoFailed. The first reason counts."""
        self._failure = self._failure or DemoFailed(why)
        self.changed()

    async def until(self, condition: Callable[[], bool], what: str, *, seconds: float = WAIT_SECONDS) -> None:
        """Wait for `condition`, checked after every change. Raises DemoFailed when that takes too long."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    change = self._change
                    if self._failure:
                        raise self._failure
                    await change.wait()
        except TimeoutError:
            raise DemoFailed(f"waited {seconds:.0f} s in vain until {what}; {self._situation()}") from None
        if self._failure:
            raise self._failure

    def in_phase(self, phase: str, names: Sequence[str]) -> list[Job]:
        """Those of the named jobs that are in this phase."""
        return [job for name in names if (job := self.jobs.get(name)) and job.phase == phase]

    def live(self) -> list[Session]:
        """All live sessions."""
        return [session for session in self.sessions if session.live]

    def orphans(self) -> list[Session]:
        """Live sessions that no job's status names, and whose run is not its job's present one."""
        named = {job.session for job in self.jobs.values()} | {job.run_id for job in self.jobs.values()}
        return [session for session in self.live() if not {session.id, session.run_id} & named]

    def _situation(self) -> str:
        """The state of everything, for a message."""
        phases = Counter(f"{job.phase or 'new'} {job.reason}".strip() for job in self.jobs.values())
        said = [f"{count} {phase}" for phase, count in phases.items()] or ["no jobs"]
        said += [f"{job.name} has {len(job.abandoned)} runs to clean" for job in self.jobs.values() if job.abandoned]
        said += [f"{session.id} is an orphan" for session in self.orphans()]
        return ", ".join(said)
