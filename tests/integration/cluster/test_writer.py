"""The conditioned writer on the real server.

Matrix: fresh, stale, deleted, recreated, edited in between, refused by admission, by RBAC, by size; throttled; answer
lost, request lost, server paused, server error; status and metadata.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from curation.cluster.answers import Conflict, Document, Gone, Refused, Throttled, Unknown, WriteAnswer, Written
from curation.cluster.resources import JOBS
from testing.controlplane.connection import Connection as Server
from testing.controlplane.connection import Kubectl
from testing.controlplane.server import ControlPlane
from tests.faults.proxy import FaultProxy, answered, held_request, lost_answer, reset

from .conftest import Client, client, eventually, stored

STATUS = {"phase": "Queued", "reason": "Backoff", "message": "hello"}


async def patch(
    cluster: Client, job: Document, status: dict[str, Any] | None = None, *, name: str = "a"
) -> WriteAnswer:
    return await cluster.writer.patch(
        JOBS,
        cluster.namespace,
        name,
        resource_version=job["metadata"]["resourceVersion"],
        body={"status": STATUS if status is None else status},
        subresource="status",
    )


async def put(cluster: Client, job: Document, status: dict[str, Any] | None = None) -> WriteAnswer:
    return await cluster.writer.write_status(JOBS, stored(JOBS, job), STATUS if status is None else status)


Write = Callable[..., Awaitable[WriteAnswer]]
each_form = pytest.mark.parametrize("write", [patch, put])
"""A status is written by a merge patch or by a PUT, under the same conditions."""


async def test_a_fresh_write_is_applied_and_the_answer_is_the_object_after_it(cluster: Client) -> None:
    job = await cluster.create_job()
    answer = await patch(cluster, job)
    assert isinstance(answer, Written)
    assert answer.obj == await cluster.get_job()
    assert answer.obj["status"]["message"] == "hello"
    assert answer.obj["metadata"]["resourceVersion"] != job["metadata"]["resourceVersion"]


async def test_a_write_carries_the_field_manager_of_the_operator(cluster: Client) -> None:
    answer = await patch(cluster, await cluster.create_job())
    assert isinstance(answer, Written)
    entries = answer.obj["metadata"]["managedFields"]
    assert ("curation-operator", "status") in [(entry["manager"], entry.get("subresource")) for entry in entries]


async def test_a_null_removes_a_field(cluster: Client) -> None:
    first = await patch(cluster, await cluster.create_job())
    assert isinstance(first, Written)
    second = await patch(cluster, first.obj, {"message": None})
    assert isinstance(second, Written)
    assert "message" not in second.obj["status"]
    assert second.obj["status"]["phase"] == "Queued"


@each_form
async def test_a_stale_version_conflicts_and_changes_nothing(cluster: Client, write: Write) -> None:
    job = await cluster.create_job()
    await write(cluster, job)
    assert await write(cluster, job, {"message": "stale"}) == Conflict()
    assert (await cluster.get_job())["status"]["message"] == "hello"


@each_form
async def test_a_deleted_object_is_gone(cluster: Client, write: Write) -> None:
    await cluster.create_job()
    job = await cluster.destroy_job()
    assert await write(cluster, job) == Gone()


@each_form
async def test_an_object_made_anew_under_the_same_name_conflicts(cluster: Client, write: Write) -> None:
    await cluster.create_job()
    old = await cluster.destroy_job()
    await cluster.create_job()
    assert await write(cluster, old) == Conflict()
    assert "message" not in (await cluster.get_job())["status"]


@each_form
async def test_after_a_label_edit_in_between_the_write_from_a_fresh_read_lands(cluster: Client, write: Write) -> None:
    job = await cluster.create_job()
    await cluster.label("a", "x")
    assert await write(cluster, job) == Conflict()
    answer = await write(cluster, await cluster.get_job())
    assert isinstance(answer, Written)
    assert answer.obj["metadata"]["labels"] == {"team": "x"}
    assert answer.obj["status"]["message"] == "hello"


@each_form
async def test_of_many_writes_from_one_version_exactly_one_lands(cluster: Client, write: Write) -> None:
    job = await cluster.create_job()
    answers = await asyncio.gather(*(write(cluster, job, {"message": str(number)}) for number in range(20)))
    landed = [answer for answer in answers if isinstance(answer, Written)]
    assert len(landed) == 1
    assert answers.count(Conflict()) == 19
    assert (await cluster.get_job())["status"] == landed[0].obj["status"]


async def test_metadata_is_conditioned_too(cluster: Client) -> None:
    job = await cluster.create_job()
    await cluster.label("a", "x")
    answer = await cluster.writer.patch(
        JOBS,
        cluster.namespace,
        "a",
        resource_version=job["metadata"]["resourceVersion"],
        body={"metadata": {"labels": {"team": "y"}}},
        subresource=None,
    )
    assert answer == Conflict()
    assert (await cluster.get_job())["metadata"]["labels"] == {"team": "x"}


async def test_a_write_that_is_not_conditioned_is_never_sent(cluster: Client) -> None:
    job = await cluster.create_job()
    with pytest.raises(ValueError, match="needs the resourceVersion"):
        await cluster.writer.patch(
            JOBS, cluster.namespace, "a", resource_version="", body={"status": STATUS}, subresource="status"
        )
    with pytest.raises(ValueError, match="the patch says resourceVersion '1'"):
        await cluster.writer.patch(
            JOBS,
            cluster.namespace,
            "a",
            resource_version=job["metadata"]["resourceVersion"],
            body={"metadata": {"resourceVersion": "1"}},
            subresource=None,
        )
    assert (await cluster.get_job())["metadata"]["resourceVersion"] == job["metadata"]["resourceVersion"]


@each_form
async def test_what_the_schema_does_not_allow_is_refused_with_the_field(cluster: Client, write: Write) -> None:
    answer = await write(cluster, await cluster.create_job(), {"phase": "Nonsense"})
    assert isinstance(answer, Refused)
    assert (answer.code, answer.reason) == (422, "Invalid")
    assert "status.phase" in answer.message


async def test_what_an_admission_policy_refuses_lands_when_the_policy_is_gone(
    cluster: Client, kubectl: Kubectl, namespace: str
) -> None:
    """docs/fence.md, rule 4: an admission policy may refuse an outcome for a while."""
    name = f"refuse-{namespace}"
    policy = f"""
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {{apiGroups: [curation.dev], apiVersions: [v1alpha1], operations: [UPDATE], resources: [curationjobs/status]}}
  validations:
  - {{expression: "false", message: "the freeze is on"}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec:
  policyName: {name}
  validationActions: [Deny]
  matchResources:
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
"""
    await cluster.create_job()
    kubectl("apply", "-f", "-", input=policy)
    try:

        async def refused() -> Refused | None:
            answer = await patch(cluster, await cluster.get_job())
            return answer if isinstance(answer, Refused) else None

        answer = await eventually(refused, "the policy never took effect")
        assert answer.code == 422
        assert "the freeze is on" in answer.message
    finally:
        kubectl("delete", "-f", "-", input=policy)

    async def landed() -> bool:
        return isinstance(await patch(cluster, await cluster.get_job()), Written)

    await eventually(landed, "the policy never went away")


async def test_what_rbac_forbids_is_refused(installed: Server, cluster: Client, namespace: str) -> None:
    job = await cluster.create_job()
    async with client(installed.kubeconfig("nobody", ("nothing",)), namespace) as nobody:
        answer = await patch(nobody, job)
    assert isinstance(answer, Refused)
    assert (answer.code, answer.reason) == (403, "Forbidden")


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_body_that_is_too_large_is_refused(cluster: Client) -> None:
    answer = await patch(cluster, await cluster.create_job(), {"output": {"text": "x" * 4_000_000}})
    assert isinstance(answer, Refused)
    assert answer.code == 413


async def test_a_lost_answer_is_unknown_and_the_write_was_applied_and_sent_once(
    installed: Server, cluster: Client, namespace: str, tmp_path: Path
) -> None:
    job = await cluster.create_job()
    async with FaultProxy(installed.kubeconfig()) as proxy:
        fault = proxy.inject(lost_answer("PATCH", "/a/status"))
        async with client(proxy.kubeconfig(tmp_path), namespace) as beyond:
            assert (await beyond.get_job())["metadata"]["name"] == "a"  # so the PATCH finds a connection that lives
            answer = await patch(beyond, job)
        sent = [exchange for exchange in proxy.exchanges if exchange.method == "PATCH"]
    assert isinstance(answer, Unknown)
    assert fault.upstream_status == 200
    assert [exchange.status for exchange in sent] == [200]
    assert (await cluster.get_job())["status"]["message"] == "hello"
    assert await patch(cluster, job, {"message": "again"}) == Conflict()


async def test_a_lost_request_is_unknown_and_changed_nothing(
    installed: Server, cluster: Client, namespace: str, tmp_path: Path
) -> None:
    job = await cluster.create_job()
    async with FaultProxy(installed.kubeconfig()) as proxy:
        fault = proxy.inject(reset("PATCH", times=None))
        async with client(proxy.kubeconfig(tmp_path), namespace) as beyond:
            answer = await patch(beyond, job)
    assert isinstance(answer, Unknown)
    assert fault.hits == 1  # never sent twice
    assert (await cluster.get_job())["metadata"]["resourceVersion"] == job["metadata"]["resourceVersion"]


@each_form
async def test_a_request_that_arrives_after_its_sender_gave_up_is_still_conditioned(
    installed: Server, cluster: Client, namespace: str, tmp_path: Path, write: Write
) -> None:
    """The reason for compare-and-set: a write of a moment ago that comes late must not win."""
    job = await cluster.create_job()
    async with FaultProxy(installed.kubeconfig()) as proxy:
        fault = proxy.inject(held_request("PUT" if write is put else "PATCH"))
        async with client(proxy.kubeconfig(tmp_path), namespace, seconds=0.5) as beyond:
            assert isinstance(await write(beyond, job, {"message": "late"}), Unknown)
            assert isinstance(await write(cluster, job), Written)
            fault.reached.clear()
            fault.release()
            await asyncio.wait_for(fault.reached.wait(), 30)
    assert fault.upstream_status == 409
    assert (await cluster.get_job())["status"]["message"] == "hello"


@pytest.mark.parametrize(("headers", "seconds"), [({"Retry-After": "7"}, 7.0), ({}, 1.0)])
async def test_429_says_how_long_to_wait(
    installed: Server, cluster: Client, namespace: str, tmp_path: Path, headers: dict[str, str], seconds: float
) -> None:
    job = await cluster.create_job()
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(answered(429, "PATCH", headers=headers))
        async with client(proxy.kubeconfig(tmp_path), namespace) as beyond:
            assert await patch(beyond, job) == Throttled(seconds)


NOT_SERVED = "404 page not found\n"
OTHER_ABSENT = json.dumps(
    {"kind": "Status", "reason": "NotFound", "code": 404, "details": {"kind": "namespaces", "name": "ns"}}
)


@pytest.mark.parametrize(
    ("status", "body"),
    [(500, ""), (502, "<html>bad gateway</html>"), (503, ""), (504, ""), (404, NOT_SERVED), (404, OTHER_ABSENT)],
)
async def test_an_error_that_says_nothing_about_the_object_is_unknown(
    installed: Server, cluster: Client, namespace: str, tmp_path: Path, status: int, body: str
) -> None:
    """A 404 for the path is none for the job: to take it for a deletion would drop a good completion."""
    job = await cluster.create_job()
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(answered(status, "PATCH", body=body))
        async with client(proxy.kubeconfig(tmp_path), namespace) as beyond:
            answer = await patch(beyond, job)
    assert isinstance(answer, Unknown)
    assert str(status) in answer.message


async def test_an_answer_that_is_cut_short_is_unknown(
    installed: Server, cluster: Client, namespace: str, tmp_path: Path
) -> None:
    job = await cluster.create_job()
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(answered(200, "PATCH", body='{"metadata": {"name": "a", '))
        async with client(proxy.kubeconfig(tmp_path), namespace) as beyond:
            assert isinstance(await patch(beyond, job), Unknown)


async def test_a_server_that_is_paused_or_gone_is_unknown(private_control_plane: ControlPlane) -> None:
    async with client(private_control_plane.kubeconfig(), "default", seconds=1.0) as cluster:
        job = await eventually(cluster.create_job, "no job")
        private_control_plane.pause_apiserver()
        try:
            async with asyncio.timeout(30):
                answer = await patch(cluster, job)
        finally:
            private_control_plane.resume_apiserver()
        assert isinstance(answer, Unknown)
        assert "no answer within 1 s" in answer.message
        private_control_plane.stop_apiserver(kill=True)
        assert isinstance(await patch(cluster, job), Unknown)
        private_control_plane.start_apiserver()

        async def works() -> bool:
            return isinstance(await patch(cluster, await cluster.get_job()), Written)

        await eventually(works, "the connection did not recover")
