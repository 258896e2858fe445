"""The leader goes while runs are in flight: their sessions exist already, and their answers have not arrived.

In the end each job has one live session, that of the attempt which the next leader made, and no run has failed.
"""

from collections.abc import Callable

import pytest

from tests.e2e import installation
from tests.e2e.disruption import force, kill, stop
from tests.e2e.installation import DEPLOYMENT, SYSTEM
from tests.e2e.kubectl import kubectl, until
from tests.e2e.team import Team


@pytest.mark.parametrize("lose", [stop, force, kill], ids=["stopped", "deleted by force", "killed"])
def test_the_leader_is_lost_with_runs_in_flight(team: Team, lose: Callable[[str, str], None]) -> None:
    team.permit()
    running = team.create_jobs(3, "running")
    team.until_settled(running)
    before = {job["metadata"]["name"]: job["status"]["session"]["id"] for job in team.jobs(running)}
    held = team.sessions.hold_answers("/sessions", attempt=1)
    names = team.create_jobs(10)
    until(lambda: team.sessions.held(held) == 10, "the answers to ten runs are held", team.picture)
    old = installation.holder()

    lose(old.partition("/")[0], SYSTEM)

    until(lambda: installation.holder() not in ("", old), "another process leads", installation.logs)
    team.until_phase("Running", names)
    team.sessions.release(held)
    team.until_settled([*running, *names])
    for job in team.jobs(names):
        run = job["status"]["run"]
        assert run["holder"] != old
        made = [(each["attempt"], each["state"]) for each in team.sessions.of_job(job["metadata"]["uid"])]
        # Two attempts, unless the machine is so busy that the next leader loses the lease as well.
        assert made[0] == (1, "cancelled")
        assert made[-1] == (run["attempt"], "running")
        assert [state for _, state in made[:-1]] == ["cancelled"] * (len(made) - 1)
    assert {job["metadata"]["name"]: job["status"]["session"]["id"] for job in team.jobs(running)} == before
    assert team.failures() == []
    until(lambda: len(installation.ready_pods()) == 2, "both replicas are ready", installation.logs)


def test_a_rolling_restart_with_runs_in_flight_fails_no_job_and_leaves_no_orphan(team: Team) -> None:
    team.limit_runs(120)  # longer than the restart
    team.permit()
    running = team.create_jobs(3, "running")
    team.until_settled(running)
    before = {job["metadata"]["name"]: job["status"]["session"]["id"] for job in team.jobs(running)}
    held = team.sessions.hold_answers("/sessions", attempt=1)
    in_flight = team.create_jobs(5, "in-flight")
    until(lambda: team.sessions.held(held) == 5, "the answers to five runs are held", team.picture)
    old_pods, old = set(installation.ready_pods()), installation.holder()

    kubectl("rollout", "restart", DEPLOYMENT, "-n", SYSTEM)
    # Some jobs arrive meanwhile; the answers to their first attempts are held as well.
    meanwhile = team.create_jobs(5, "meanwhile")
    kubectl("rollout", "status", DEPLOYMENT, "-n", SYSTEM, "--timeout=240s")

    assert old_pods.isdisjoint(installation.ready_pods())
    until(lambda: installation.holder() not in ("", old), "another process leads", installation.logs)
    team.sessions.release(held)
    team.until_settled([*running, *in_flight, *meanwhile])
    for job in team.jobs([*in_flight, *meanwhile]):
        made = team.sessions.of_job(job["metadata"]["uid"])
        assert [each["state"] for each in made] == ["cancelled"] * (len(made) - 1) + ["running"]
    assert all(job["status"]["run"]["attempt"] > 1 for job in team.jobs(in_flight))
    assert {job["metadata"]["name"]: job["status"]["session"]["id"] for job in team.jobs(running)} == before
    assert team.failures() == []
