"""Guests in pods, on a real node: the operator is rolled and killed, and pods end, while a call is on the wire."""

from collections.abc import Iterator

import pytest

from tests.e2e import installation
from tests.e2e.disruption import evict, force, kill
from tests.e2e.installation import DEPLOYMENT, GUESTS, SYSTEM
from tests.e2e.kubectl import Document, items, kubectl, until
from tests.e2e.team import Team


@pytest.fixture
def guests(team: Team) -> Iterator[Team]:
    """A team whose guests may be in pods; none is left."""
    if not installation.has_dns():
        pytest.skip("no DNS in this cluster, by which guests find the door: give a node kit NODE_DNS=1")
    yield team
    until(lambda: not _pods(), "no pod of a guest is left", _guests)


def _pods() -> list[Document]:
    return items("pods", "-n", GUESTS)


def _guests() -> str:
    return kubectl("get", "jobs,pods", "-n", GUESTS, "-o", "wide") + installation.logs()


def test_a_job_in_a_pod_runs_a_session_and_ends_with_its_output(guests: Team) -> None:
    guests.permit()
    (name,) = guests.create_jobs(1, executor={"type": "Job"})
    guests.until_settled([name])
    job = guests.job(name)
    pod = job["status"]["run"]["pod"]
    assert pod["name"].startswith(job["metadata"]["uid"]), "the pod is that of its run's Job"
    guests.sessions.complete(job["status"]["session"]["id"], {"made": "in a pod"})
    guests.until_phase("Completed", [name])
    assert guests.job(name)["status"]["output"] == {"made": "in a pod"}


def test_ten_jobs_in_pods_complete_while_the_operator_is_rolled_and_killed_and_pods_end(guests: Team) -> None:
    guests.limit_runs(120)  # longer than a roll-out; what is cleaned once more is so after that time
    guests.permit()
    first, second = (guests.sessions.hold_answers("/sessions", attempt=each) for each in (1, 2))
    names = guests.create_jobs(10, executor={"type": "Job"})
    until(lambda: guests.sessions.held(first) == 10, "the answers to ten guests in pods are held", guests.picture)
    bound = [job["status"]["run"]["pod"]["name"] for job in guests.jobs(names)]
    assert sorted(bound) == sorted(pod["metadata"]["name"] for pod in _pods())

    force(bound[0], GUESTS)
    evict(bound[1], GUESTS)
    until(lambda: guests.sessions.held(second) == 2, "two runs were interrupted, and have other pods", guests.picture)
    kubectl("rollout", "restart", DEPLOYMENT, "-n", SYSTEM)
    kubectl("rollout", "status", DEPLOYMENT, "-n", SYSTEM, "--timeout=240s")
    until(lambda: guests.sessions.held(second) == 10, "all second attempts are held", guests.picture)
    old = installation.holder()
    kill(old.partition("/")[0], SYSTEM)
    until(lambda: installation.holder() not in ("", old), "another process leads", installation.logs)

    guests.sessions.release(first)
    guests.sessions.release(second)
    guests.until_settled(names)
    for job in guests.jobs(names):
        made = guests.sessions.of_job(job["metadata"]["uid"])
        assert [each["state"] for each in made] == ["cancelled"] * (len(made) - 1) + ["running"]
        guests.sessions.complete(job["status"]["session"]["id"], {})
    guests.until_phase("Completed", names)
    until(lambda: len(installation.ready_pods()) == 2, "both replicas are ready", installation.logs)
