"""Whose names an approval holds: all who created, changed or resumed the jobs that wait for it."""

import json
from functools import partial

from testing.controlplane.connection import Kubectl
from tests.harness import manifests
from tests.harness.world import World
from tests.integration.api.objects import until
from tests.integration.approvals.decisions import NO_SESSIONS, Approvals
from tests.integration.manifests.conftest import Bind


async def test_who_edits_or_resumes_a_job_of_another_is_a_requester_of_its_approval(
    world: World, approvals: Approvals, kubectl: Kubectl, bind: Bind
) -> None:
    users = {name: bind("curation-job-author") for name in ("creator", "editor", "resumer", "bystander")}
    for user in users.values():
        until(partial(lambda user: kubectl("get", "cjob", user=user, check=False).returncode == 0, user))
    await world.cluster.create(manifests.module())
    await world.cluster.create(manifests.policy(NO_SESSIONS))
    await world.start_operator()
    kubectl("create", "-f", "-", input=json.dumps(manifests.job("job-0", world.service.url)), user=users["creator"])
    await world.until_phase("AwaitingApproval")
    name = (await approvals.one(waiting=1))["metadata"]["name"]

    def requesters() -> set[str]:
        return set(approvals.status(name).get("requesters", []))

    async def shown(*known: str) -> None:
        await approvals.until(lambda: requesters() == {users[each] for each in known}, f"requesters are {known}")

    def patch(user: str, **spec: object) -> None:
        kubectl("patch", "cjob", "job-0", "--type=merge", "-p", json.dumps({"spec": spec}), user=users[user])

    await shown("creator")
    patch("bystander", retry={"limit": 1})
    patch("editor", input={"message": "what the editor wants"})
    await world.until(lambda: world.status()["run"]["generation"] >= 3, "the edited template runs")
    await world.until_phase("AwaitingApproval")
    await shown("creator", "editor")
    patch("bystander", suspend=True)
    patch("resumer", suspend=False)
    await world.until_phase("AwaitingApproval")
    await shown("creator", "editor", "resumer")
