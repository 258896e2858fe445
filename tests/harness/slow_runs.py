"""Where a run of the shipped module can be made slow: at each of its calls, before the work or before the answer."""

import asyncio
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

from testing.operator_process import OperatorProcess
from testing.sessions.faults import Rule
from testing.sessions.store import Session
from tests.faults.proxy import ProxyFault, Stall
from tests.harness.world import SECONDS, World

_POLL_SECONDS = 0.02


class Point(StrEnum):
    """A point in a run."""

    CREATE = "create"
    """The session service has the request to create the session, and has not begun."""
    CREATED = "created"
    """The session is there; the run does not know of it yet."""
    CONFIGURE = "configure"
    """The run knows the session; the service has the request to configure it, and has not begun."""
    LAST_ANSWER = "last-answer"
    """All is done; the run does not know of it yet."""


_CALLS: dict[Point, tuple[str, Literal["before", "after"]]] = {
    Point.CREATE: ("/sessions", "before"),
    Point.CREATED: ("/sessions", "after"),
    Point.CONFIGURE: ("/sessions/*/configure", "before"),
    Point.LAST_ANSWER: ("/sessions/*/configure", "after"),
}


def hold(
    world: World, point: Point, *, generation: int = 1, attempt: int = 1, job: str | None = None, then: str = "answer"
) -> Rule:
    """Hold this run of every job (or of the job with this uid) at a point, until the rule is released."""
    path, when = _CALLS[point]
    which = {"method": "POST", "path": path, "generation": generation, "attempt": attempt, "job": job}
    return world.service.add_rule("hold", when, then=then, **which)


def hold_to_fail(world: World, point: Point, *, generation: int = 1) -> Rule:
    """The same, and the run fails when the rule is released after the run was superseded.

    At its create it fails by itself: no further call of a superseded run leaves.
    """
    knows_the_session = point in (Point.CONFIGURE, Point.LAST_ANSWER)
    return hold(world, point, generation=generation, then="fail" if knows_the_session else "answer")


async def supersede(world: World, rules: Sequence[Rule], names: Sequence[str]) -> None:
    """As soon as the runs of these jobs are held by a rule, ask for the next ones; after the last rule too."""
    for number, rule in enumerate(rules, start=1):
        await until_held(world, rule, len(names))
        await world.edit(*names, rerun=str(number))


async def until_held(world: World, rule: Rule, count: int) -> None:
    """Wait until the rule holds so many calls."""
    await world.until(lambda: rule.held >= count, f"{rule.id} holds {count} calls")


def sessions_of(world: World, names: Sequence[str], *, generation: int, attempt: int = 1) -> list[Session]:
    """Every session that this run of these jobs ever made."""
    return [
        session
        for name in names
        for session in world.service.sessions(run=world.run_id(name, generation=generation, attempt=attempt))
    ]


async def until_dropped(world: World, operator: OperatorProcess, count: int) -> None:
    """Wait until the operator has dropped so many completions of Submit executions."""
    await world.until(
        lambda: len(operator.logged("dropped a stale completion", trigger="Submit")) >= count,
        f"{count} stale completions are dropped",
    )


async def completions(operator: OperatorProcess) -> dict[str, int]:
    """The operator's count of completions, by verdict; those that did not happen are left out."""
    metrics = await operator.metrics()
    counts = {
        verdict: int(metrics.value("curation_completions_total", verdict=verdict))
        for verdict in ("applied", "stale", "duplicate", "gone")
    }
    return {verdict: count for verdict, count in counts.items() if count}


async def assert_completions(operator: OperatorProcess, **wanted: int) -> None:
    """The operator counts exactly these completions, by verdict.

    A status is seen by the watch before the operator has the answer to its write, so as many are waited for.
    """
    deadline = time.monotonic() + SECONDS
    while True:
        counts = await completions(operator)
        if sum(counts.values()) >= sum(wanted.values()) or time.monotonic() > deadline:
            break
        await asyncio.sleep(_POLL_SECONDS)
    assert counts == wanted


async def until_counted(operator: OperatorProcess, verdict: str, count: int) -> dict[str, int]:
    """Wait until the operator counts so many completions of this verdict; all its counts."""
    deadline = time.monotonic() + SECONDS
    while True:
        counts = await completions(operator)
        if counts.get(verdict, 0) >= count:
            return counts
        assert time.monotonic() < deadline, f"waited in vain for {count} {verdict} completions: {counts}"
        await asyncio.sleep(_POLL_SECONDS)


async def until_stalled(stall: Stall, pieces: int = 1) -> None:
    """Wait until a proxy holds so many pieces of watches back."""
    deadline = time.monotonic() + SECONDS
    while stall.waiting < pieces:
        assert time.monotonic() < deadline, f"{stall.waiting} pieces of the watch are held back, not {pieces}"
        await asyncio.sleep(_POLL_SECONDS)


async def until_worked_on(operator: OperatorProcess, resource: str, since: float) -> None:
    """Wait until the operator has worked on something that a watch delivered after a time (`time.monotonic()`)."""
    deadline = time.monotonic() + SECONDS
    while True:
        metrics = await operator.metrics()
        if metrics.value("curation_watch_age_seconds", resource=resource) < time.monotonic() - since:
            return
        assert time.monotonic() < deadline, f"the operator sees nothing of {resource}"
        await asyncio.sleep(_POLL_SECONDS)


async def until_answered(fault: ProxyFault) -> int:
    """Wait until the server has answered the request that a proxy held; the status."""
    deadline = time.monotonic() + SECONDS
    while fault.upstream_status is None:
        assert time.monotonic() < deadline, "the held request was not answered"
        await asyncio.sleep(_POLL_SECONDS)
    return fault.upstream_status
