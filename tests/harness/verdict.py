"""The witness's verdict: what the session service has, against what the jobs say (docs/fence.md, I8)."""

from collections.abc import Iterable

from testing.admin_client import Document
from testing.sessions import SessionService


def wrong_sessions(jobs: Iterable[Document], service: SessionService) -> list[str]:
    """What is wrong: a Running job has exactly one live session, the one in its status; every other job has none."""
    wrong, known = [], set()
    for job in jobs:
        name, uid = job["metadata"]["name"], job["metadata"]["uid"]
        known.add(uid)
        status = job.get("status") or {}
        live = [session.id for session in service.live_sessions(job=uid)]
        wanted = [status["session"]["id"]] if status.get("phase") == "Running" else []
        if job["metadata"].get("deletionTimestamp"):
            wanted = []
        if live != wanted:
            wrong.append(f"{name} is {status.get('phase')} and should have the live sessions {wanted}, but has {live}")
    for session in service.live_sessions():
        if session.caller.job not in known:
            wrong.append(f"session {session.id} of run {session.caller.run_id} lives, and its job is gone")
    return wrong


def unsettled(jobs: Iterable[Document]) -> list[str]:
    """The jobs that the operator is not done with: a run in flight, a run to be cleaned, a deletion under way."""
    found = []
    for job in jobs:
        status, name = job.get("status") or {}, job["metadata"]["name"]
        phase = status.get("phase")
        if job["metadata"].get("deletionTimestamp"):
            found.append(f"{name} is being deleted")
        elif phase in (None, "Submitted") or (phase == "Queued" and not status.get("reason")):
            found.append(f"{name} is {phase}")
        elif status.get("abandonedRuns"):
            found.append(f"{name} has runs to clean: {[entry['id'] for entry in status['abandonedRuns']]}")
    return found
