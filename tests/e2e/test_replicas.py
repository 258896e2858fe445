"""The leader goes while runs are in flight: their sessions exist already, and their answers have not arrived.

In the end each job has one live session, that of the attempt which the next leader made, and no run has failed.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import installation
from tests.e2e.installation import DEPLOYMENT, SYSTEM
from tests.e2e.kubectl import get, kubectl, until
from tests.e2e.team import Team


def stop(pod: str) -> None:
    """SIGTERM, and time to stop in good order."""
    kubectl("delete", "pod", pod, "-n", SYSTEM, "--wait=false")


def force(pod: str) -> None:
    """The pod is gone from the API server at once, whatever its processes do."""
    kubectl("delete", "pod", pod, "-n", SYSTEM, "--grace-period=0", "--force")


def kill(pod: str) -> None:
    """SIGKILL of its process, where that is a process of this machine; the kubelet starts another in the same pod."""
    uid = get("pod", pod, "-n", SYSTEM)["metadata"]["uid"]
    found = [process for process in map(int, _processes()) if _is_operator(process, uid)]
    if not found:
        pytest.skip("the node's processes are not processes of this machine")
    (process,) = found
    os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("lose", [stop, force, kill], ids=["stopped", "deleted by force", "killed"])
def test_the_leader_is_lost_with_runs_in_flight(team: Team, lose: Callable[[str], None]) -> None:
    team.permit()
    running = team.create_jobs(3, "running")
    team.until_settled(running)
    before = {job["metadata"]["name"]: job["status"]["session"]["id"] for job in team.jobs(running)}
    held = team.sessions.hold_answers("/sessions", attempt=1)
    names = team.create_jobs(10)
    until(lambda: team.sessions.held(held) == 10, "the answers to ten runs are held", team.picture)
    old = installation.holder()

    lose(old.partition("/")[0])

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


def _processes() -> list[str]:
    return [entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _is_operator(process: int, pod_uid: str) -> bool:
    """Whether it is the operator's process of this pod, by its cgroup (with the systemd driver `-` is `_` there)."""
    try:
        cgroups = Path(f"/proc/{process}/cgroup").read_text(encoding="utf-8")
        command = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
    return (pod_uid in cgroups or pod_uid.replace("-", "_") in cgroups) and b"curation-operator" in command
