"""The container of the workers is out of memory while runs are in flight: the operator beside it goes on.

Runs are admitted by what they may take, so that they cannot bring this about; a process that is put there does.
"""

import subprocess
from collections.abc import Iterator

import pytest

from tests.e2e import installation
from tests.e2e.installation import SYSTEM
from tests.e2e.kubectl import SECONDS, Document, get, until
from tests.e2e.service import Sessions
from tests.e2e.team import Team

FILL = """
import os
file = os.memfd_create("fill")
piece = bytes(1 << 20)
while os.write(file, piece):
    pass
"""
"""Memory of no process: so the kernel ends the workers first, which ask for that, or the whole container."""


@pytest.fixture
def other(session_service: Sessions) -> Iterator[Team]:
    """A second namespace of jobs."""
    made = Team(session_service)
    yield made
    made.delete()


def containers(pod: str) -> dict[str, Document]:
    """The status of each container of the pod."""
    return {each["name"]: each for each in get("pod", pod, "-n", SYSTEM)["status"]["containerStatuses"]}


def exhaust(pod: str) -> None:
    """Fill the memory of the workers' container, until that ends or whoever fills it."""
    command = ["kubectl", "exec", pod, "-n", SYSTEM, "-c", "workers", "--", "python", "-I", "-S", "-c", FILL]
    subprocess.run(command, capture_output=True, check=False, timeout=SECONDS)


def test_workers_are_killed_for_memory_with_runs_in_flight_and_the_operator_goes_on(team: Team, other: Team) -> None:
    teams = (team, other)
    for each in teams:
        each.limit_runs(120)
        each.permit()
        each.until_settled(each.create_jobs(1, "running"))
    held = team.sessions.hold_answers("/sessions", attempt=1)
    names = {each.namespace: each.create_jobs(3) for each in teams}
    until(lambda: team.sessions.held(held) == 6, "the answers to six runs are held", team.picture)
    leader = installation.holder()
    pod = leader.partition("/")[0]
    before = containers(pod)
    limit = installation.metric(pod, "curation_workers_memory_limit_bytes")
    assert 4 << 30 < limit < 6 << 30, "what the container has, less what others in it need"

    exhaust(pod)

    for each in teams:
        # The first attempts hang for ever: only another one comes to Running.
        each.until_phase("Running", names[each.namespace])
    assert installation.holder() == leader, "the lease is kept"
    after = containers(pod)
    assert after["operator"]["restartCount"] == before["operator"]["restartCount"]
    assert after["operator"]["containerID"] == before["operator"]["containerID"]
    team.sessions.release(held)
    for each in teams:
        each.until_settled([*names[each.namespace], "running-0"])
        for job in each.jobs(names[each.namespace]):
            run = job["status"]["run"]
            # One interruption each, unless the filling lasted until the next attempt.
            assert run["attempt"] > 1
            assert run["interruptions"] >= 1, "it was Interrupted, and that is no retry that counts"
            made = [(found["attempt"], found["state"]) for found in team.sessions.of_job(job["metadata"]["uid"])]
            assert made[0] == (1, "cancelled")
            assert made[-1] == (run["attempt"], "running")
            assert [state for _, state in made[:-1]] == ["cancelled"] * (len(made) - 1)
    until(lambda: len(installation.ready_pods()) == 2, "both replicas are ready", installation.logs)
