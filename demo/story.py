"""The acts: ten jobs, three late answers, and two jobs that wait for permission."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml

from demo.board import Board, DemoFailed
from demo.facts import Job, attempt
from demo.kubectl import MANIFESTS, NAMESPACE, Kubectl
from demo.screen import Screen
from demo.service import SessionsClient
from demo.stage import DROPPED, Stage
from demo.verdict import Evidence
from testing.supervised import ROOT

JOBS_FILE: Final = "jobs.yaml"
FIRST: Final = "g1.a1"
RETRIED: Final = "g2.a1"
"""The first attempt under generation 2: a new value of spec.rerun is a new generation."""


_UID: Final = re.compile(r"\b([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


@dataclass(frozen=True)
class Cast:
    """Everybody on the stage."""

    stage: Stage
    board: Board
    screen: Screen
    kubectl: Kubectl
    sessions: SessionsClient
    names: Sequence[str]
    """The ten jobs."""
    late: Sequence[str]
    """The three of them whose first attempt the narrow policy lets through."""

    def running(self, names: Sequence[str], label: str) -> bool:
        """Whether all these jobs are Running, each with the session of this attempt."""
        jobs = self.board.in_phase("Running", names)
        return len(jobs) == len(names) and all(attempt(job.session_run_id) == label for job in jobs)


def read_jobs(file: str) -> list[dict[str, Any]]:
    """The jobs of one of the demo's files."""
    return [document for document in yaml.safe_load_all((ROOT / MANIFESTS / file).read_text()) if document]


def names(jobs: Sequence[dict[str, Any]], **labels: str) -> list[str]:
    """The names of those jobs that have these labels."""
    return [job["metadata"]["name"] for job in jobs if labels.items() <= job["metadata"].get("labels", {}).items()]


async def modules(cast: Cast) -> None:
    """Before the first act: what the jobs need."""
    await cast.kubectl.apply("namespace.yaml")
    await cast.kubectl.apply("modules.yaml")
    await cast.kubectl.patch("modules.yaml", {"config": {"api_url": cast.sessions.url}})


async def denied_and_held(cast: Cast) -> str:
    """Act 1. Returns the rule by which the session service holds the answers."""
    board, screen, late, others = cast.board, cast.screen, cast.late, [n for n in cast.names if n not in cast.late]
    screen.act("1  A narrow policy lets three of ten jobs through; the session service is slow to answer those")
    rule = await cast.sessions.hold_answers("/sessions/*/configure", generation=1)
    await cast.kubectl.apply("policy-narrow.yaml")
    await _in_force(cast, generation=1)
    await cast.kubectl.apply(JOBS_FILE)
    screen.now("waiting for seven denials, and for three sessions whose last answer is held back")

    async def held() -> int:
        return await cast.sessions.held(rule)

    await board.until(
        lambda: len(board.in_phase("Failed", others)) == len(others),
        f"the jobs without the label access=early have failed, all {len(others)} of them",
    )
    await board.until(
        lambda: len(waiting_runs(board)) == len(late) and len(board.in_phase("Submitted", late)) == len(late),
        f"{len(late)} answers are held back",
    )
    wrong = [job.name for job in board.in_phase("Failed", others) if job.reason != "Denied"]
    if wrong or await held() != len(late):
        raise DemoFailed(f"failed for another reason than Denied: {wrong}; held answers: {await held()}")
    screen.say(
        f"{len(others)} jobs are denied and Failed; {len(late)} are Submitted: the sessions live, the answers are held."
    )
    screen.end_of_act(board)
    return rule


async def widened_and_retried(cast: Cast, rule: str) -> None:
    """Act 2."""
    board, screen = cast.board, cast.screen
    screen.act("2  The policy is widened and all ten are retried, while the three answers are still held back")
    await cast.kubectl.apply("policy-wide.yaml")
    await _in_force(cast, generation=2)
    await cast.kubectl.patch(JOBS_FILE, {"rerun": "2"})
    screen.now("waiting for ten new attempts to reach Running")
    await board.until(lambda: cast.running(cast.names, RETRIED), "all ten jobs are Running in their new attempt")
    await board.until(lambda: len(board.live()) == len(cast.names) + len(cast.late), "13 sessions live")
    held = await cast.sessions.held(rule)
    if held != len(cast.late) or board.dropped:
        raise DemoFailed(f"the old answers were to be held until now; held: {held}, dropped: {board.dropped}")
    screen.say(
        f"All ten are Running, each in its new attempt; {len(board.orphans())} more sessions live, of the old ones."
    )
    screen.end_of_act(board)


async def late_answers(cast: Cast, rule: str) -> None:
    """Act 3."""
    board, screen, late = cast.board, cast.screen, cast.late
    screen.act("3  Only now the three old answers arrive: stale completions, each carrying a session")
    released = await cast.sessions.release(rule)
    screen.say(f"The session service gives {released} answers to the modules of the superseded attempts.")
    screen.now("waiting for the stale completions, and for their sessions to be cancelled")

    def settled() -> bool:
        return (
            board.metrics.total("curation_completions_total", verdict="stale") >= len(late)
            and all(name in board.dropped for name in late)
            and not any(job.abandoned for job in board.jobs.values())
            and not board.orphans()
        )

    await board.until(settled, "the stale completions are dropped and their sessions cancelled")
    lines = cast.stage.dropped_lines()
    for line in lines[:1]:
        said = _UID.sub(r"\1…", line[line.index(DROPPED) :]).partition(" (current")[0]
        screen.say(f"The operator's log says: {said}", "dim")
    screen.say(f"{len(lines)} stale completions are dropped, and the sessions that they carried are cancelled.")
    screen.end_of_act(board)


async def gather(cast: Cast, expected: Sequence[str]) -> Evidence:
    """Ask everybody anew, for the verdict."""
    board = cast.board
    printed = await cast.kubectl("get", "cjob", "--namespace", NAMESPACE, "--output=json", quiet=True)
    jobs = {job.name: job for job in map(Job.parse, json.loads(printed)["items"])}

    def evidence() -> Evidence:
        return Evidence(
            expected=expected,
            late=cast.late,
            jobs=jobs,
            history=board.history,
            sessions=board.sessions,
            calls=board.calls,
            metrics=board.metrics,
            dropped=board.dropped,
            logged=cast.stage.dropped_lines(),
        )

    # Observations go on all the time: the two are counted at different moments, and meet between two observations.
    await board.until(
        lambda: evidence().allowed == len(board.calls),
        "the operator's count of allowed calls is the session service's count of received ones",
    )
    return evidence()


async def _in_force(cast: Cast, *, generation: int) -> None:
    """Wait until the operator decides by this generation of the policy: watches of different kinds are not in step."""
    seen = f"--for=jsonpath={{.status.observedGeneration}}={generation}"
    await cast.kubectl("wait", "curpol/session-service", "--namespace", NAMESPACE, seen, "--timeout=100s", quiet=True)


def waiting_runs(board: Board) -> set[str]:
    """The runs that wait for an answer of the session service."""
    return {call.run_id for call in board.calls if not call.answered}
