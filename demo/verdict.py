"""The demo's verdict: a list of checks over what the API server, the operator and the session service say at the end.

Pure. Each check yields one sentence for each thing that is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from demo.facts import Call, Job, Metrics, Session, attempt, killed


@dataclass(frozen=True)
class Evidence:
    """All that the verdict rests on."""

    expected: Sequence[str]
    """The names of the jobs that were applied."""
    late: Sequence[str]
    """Those of them whose first attempt is answered late."""
    jobs: Mapping[str, Job]
    """The last list of the API server."""
    history: Mapping[str, Sequence[Job]]
    """Every version that the watch delivered, in order."""
    sessions: Sequence[Session]
    calls: Sequence[Call]
    metrics: Metrics
    dropped: Mapping[str, Sequence[str]]
    """Runs named by Events of reason StaleCompletionDropped, by job."""
    logged: Sequence[str] = field(default=())
    """The operator's log lines about dropped completions."""

    @property
    def stale(self) -> int:
        """Stale completions that the operator counted."""
        return self.metrics.total("curation_completions_total", verdict="stale")

    @property
    def allowed(self) -> int:
        """Outbound calls that Cedar allowed."""
        return self.metrics.total("curation_http_calls_total", decision="allowed")

    @property
    def denied(self) -> int:
        """Outbound calls that Cedar denied."""
        return self.metrics.total("curation_http_calls_total", decision="denied")

    @property
    def killed(self) -> list[str]:
        """What happened to each job that lost a running session."""
        return [said for versions in self.history.values() if (said := killed(versions))]

    def live(self, job: Job) -> list[Session]:
        """The live sessions that any run of this job has made."""
        return [session for session in self.sessions if session.live and session.job_uid == job.uid]

    def owns_its_session(self, job: Job) -> bool:
        """Whether the job's one live session is the one in its status, made by its present run."""
        return (
            [(session.id, session.run_id) for session in self.live(job)]
            == [(job.session, job.session_run_id)]
            == [(job.session, job.run_id)]
        )

    @property
    def orphans(self) -> list[Session]:
        """Live sessions that no job's status names."""
        named = {job.session for job in self.jobs.values()}
        return [session for session in self.sessions if session.live and session.id not in named]


def _lost(evidence: Evidence) -> Iterator[str]:
    for name in evidence.expected:
        if name not in evidence.jobs:
            yield f"{name} is lost: the API server no longer has it"


def _not_running(evidence: Evidence) -> Iterator[str]:
    for job in evidence.jobs.values():
        if job.phase != "Running":
            yield f"{job.name} is {job.phase or 'new'} ({job.reason}), not Running"


def _killed(evidence: Evidence) -> Iterator[str]:
    yield from evidence.killed


def _wrong_session(evidence: Evidence) -> Iterator[str]:
    for job in evidence.jobs.values():
        if not evidence.owns_its_session(job):
            live = ", ".join(f"{s.id} of {attempt(s.run_id)}" for s in evidence.live(job)) or "none"
            wanted = job.session or "none"
            yield f"{job.name} names {wanted} of {attempt(job.session_run_id)} in its status; live for it: {live}"


def _orphans(evidence: Evidence) -> Iterator[str]:
    for session in evidence.orphans:
        yield f"{session.id} of run {session.run_id} is an orphan: it lives, and no job names it"


def _abandoned(evidence: Evidence) -> Iterator[str]:
    for job in evidence.jobs.values():
        if job.abandoned:
            yield f"{job.name} still has abandoned runs to clean: {', '.join(map(attempt, job.abandoned))}"


def _stale_counted(evidence: Evidence) -> Iterator[str]:
    if evidence.stale != len(evidence.late):
        yield f"the operator counted {evidence.stale} stale completions, not {len(evidence.late)}"


def _stale_recorded(evidence: Evidence) -> Iterator[str]:
    recorded = {name: list(map(attempt, runs)) for name, runs in evidence.dropped.items()}
    wanted = {name: ["g1.a1"] for name in evidence.late}
    if recorded != wanted:
        yield f"the Events StaleCompletionDropped are about {recorded}, not {wanted}"


def _stale_logged(evidence: Evidence) -> Iterator[str]:
    if len(evidence.logged) != len(evidence.late):
        yield f"the operator's log has {len(evidence.logged)} dropped completions, not {len(evidence.late)}"


def _ungated(evidence: Evidence) -> Iterator[str]:
    if evidence.allowed != len(evidence.calls):
        yield f"Cedar allowed {evidence.allowed} calls, the session service received {len(evidence.calls)}"


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    _lost,  # every job is still there
    _not_running,  # in phase Running
    _killed,  # and was so ever since it first was
    _wrong_session,  # with one live session, the one in its status
    _orphans,  # and no session lives besides
    _abandoned,  # nor is one still to be cleaned
    _stale_counted,  # each late completion was dropped: says the metric,
    _stale_recorded,  # say the Events,
    _stale_logged,  # says the log
    _ungated,  # and no call went round the gate
)


def problems(evidence: Evidence) -> list[str]:
    """All that is wrong; empty if the demo has shown what it is to show."""
    return [said for check in CHECKS for said in check(evidence)]
