"""Jobs, with kubectl, from apply to their end."""

import json

from tests.e2e import installation
from tests.e2e.kubectl import get, items, kubectl, until
from tests.e2e.team import Team


def test_ten_jobs_run_a_session_each_and_end_with_its_output(team: Team) -> None:
    team.permit()
    names = team.create_jobs(10)
    team.until_settled(names)
    for job in team.jobs(names):
        (session,) = team.sessions.of_job(job["metadata"]["uid"])
        assert session["attempt"] == 1
        assert job["status"]["run"]["holder"] == installation.holder()
        team.sessions.complete(session["id"], {"made_for": job["metadata"]["name"]})
    kubectl("wait", "--for=condition=Finished", "cjob", "--all", "-n", team.namespace, "--timeout=180s")
    for job in team.jobs(names):
        assert job["status"]["phase"] == "Completed"
        assert job["status"]["output"] == {"made_for": job["metadata"]["name"]}


def test_one_approval_by_kubectl_curation_frees_ten_jobs(team: Team) -> None:
    names = team.create_jobs(10)
    team.until_phase("AwaitingApproval", names)
    (approval,) = items("cappr", "-n", team.namespace)
    name = approval["metadata"]["name"]
    assert {job["status"]["approval"]["name"] for job in team.jobs(names)} == {name}
    assert all(team.sessions.of_job(job["metadata"]["uid"]) == [] for job in team.jobs(names))

    kubectl("curation", "approve", name, "--scope=Host", "-n", team.namespace)

    team.until_settled(names)
    spec = get("cappr", name, "-n", team.namespace)["spec"]
    me = json.loads(kubectl("auth", "whoami", "--output=json"))["status"]["userInfo"]["username"]
    assert (spec["decision"], spec["decidedBy"]) == ("Approved", me)
    for job in team.jobs(names):
        assert len(team.sessions.of_job(job["metadata"]["uid"])) == 1
    assert team.failures() == []


def test_deleting_the_namespace_of_jobs_ends_their_sessions(team: Team) -> None:
    team.permit()
    names = team.create_jobs(10)
    team.until_settled(names)
    uids = [job["metadata"]["uid"] for job in team.jobs(names)]

    kubectl("delete", "namespace", team.namespace, "--timeout=180s")

    assert {session["state"] for uid in uids for session in team.sessions.of_job(uid)} == {"cancelled"}


def test_suspending_a_job_ends_its_session_and_resuming_starts_another(team: Team) -> None:
    team.permit()
    (name,) = team.create_jobs(1)
    team.until_settled([name])
    uid = team.job(name)["metadata"]["uid"]

    kubectl("curation", "suspend", name, "-n", team.namespace)
    until(lambda: team.sessions.live(uid) == [], "its session is cancelled", team.picture)
    kubectl("curation", "resume", name, "-n", team.namespace)

    team.until_settled([name])
    assert [session["state"] for session in team.sessions.of_job(uid)] == ["cancelled", "running"]
