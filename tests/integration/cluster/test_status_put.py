"""A status is written whole, by a PUT whose body has nothing but the status and who the object is, on the real server.

What the server makes of it is what it makes of a merge patch: of the status, and of all else.
"""

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from curation.cluster import writer as writer_module
from curation.cluster.answers import Conflict, Created, Document, Refused, Unknown, WriteAnswer, Written
from curation.cluster.resources import CLUSTER_POLICIES, JOBS, ResourceKind
from curation.cluster.status_body import status_body
from testing.controlplane.connection import Connection as Server
from testing.controlplane.connection import Kubectl
from tests.faults.proxy import UPDATE, FaultProxy, lost_answer, reset

from .conftest import Client, client, eventually, stored

STATUS = {"phase": "Queued", "reason": "Backoff", "message": "hello"}
# Each is applied to what the ones before it have left.
PATCHES: tuple[Document, ...] = (
    {},
    {
        "phase": "Queued",
        "reason": "Backoff",
        "retryAt": "2030-01-01T00:00:00Z",
        "output": {"a": {"b": 1, "c": [1, 2.5]}},
    },
    {"reason": None, "output": {"a": {"b": None, "d": "é 𝄞 \u2028 <&>"}}},
    {"output": {"a": {"c": [{"x": 1}, []], "e": {}}, "f": {"g": {"h": True}}}},
    {"output": {"a": "text", "n": [9007199254740993, -9223372036854775808, 1e21, 1.5e-7, 1.0, -0.0, 10**30]}},
    {"output": {"a": {"now": "an object"}, "gone": None}},
    {"output": None, "message": "x", "newest": None},
    {"phase": None, "message": None, "retryAt": None},
)


async def write(cluster: Client, job: Document, patch: Document | None = None) -> WriteAnswer:
    return await cluster.writer.write_status(JOBS, stored(JOBS, job), STATUS if patch is None else patch)


@pytest.fixture(scope="module")
def newer(installed: Server) -> Iterator[ResourceKind]:
    """The kind as a newer release defines it: its status has fields that this one does not know."""
    group = f"g{uuid4().hex[:8]}.test"
    crd = yaml.safe_load((Path(__file__).parents[3] / "crds" / "curationjobs.yaml").read_text())
    crd["metadata"] = {"name": f"curationjobs.{group}"}
    crd["spec"]["group"] = group
    crd["spec"]["names"] = {key: crd["spec"]["names"][key] for key in ("plural", "singular", "kind")}
    root = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    root["status"]["properties"]["newest"] = {
        "type": "object",
        "properties": {"level": {"type": "integer", "default": 7}},
        "x-kubernetes-preserve-unknown-fields": True,
    }
    installed.kubectl("create", "-f", "-", input=json.dumps(crd))
    try:
        installed.kubectl("wait", "--for=condition=Established", f"crd/curationjobs.{group}", "--timeout=60s")
        yield ResourceKind("CurationJob", "curationjobs", group)
    finally:
        installed.kubectl("delete", "crd", f"curationjobs.{group}", "--wait=false")


def writes(proxy: FaultProxy) -> list[tuple[str, int | None]]:
    """The status writes that the proxy has seen: method and answer."""
    return [(each.method, each.status) for each in proxy.exchanges if each.method in UPDATE and "/status?" in each.path]


def apply(kubectl: Kubectl, kind: ResourceKind, namespace: str, name: str) -> None:
    """Make a job as GitOps does, with all that a spec and metadata may have; others have labelled it since."""
    document = {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"team": "green"},
            "annotations": {"note": "a"},
            "finalizers": ["test.dev/a"],
            "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1234"}],
        },
        "spec": {"moduleRef": {"name": "m"}, "input": {"a": {"b": [1, None, 2.5]}}},
    }
    kubectl("apply", "--server-side", "--field-manager=git", "-f", "-", input=json.dumps(document))
    kubectl("label", f"{kind.plural}.{kind.group}", name, "-n", namespace, "seen=yes", "--field-manager=person")


def comparable(obj: Document) -> Document:
    """Without what tells one object from another of the same content."""
    metadata = {key: value for key, value in obj["metadata"].items() if key not in _OWN}
    metadata["managedFields"] = sorted(
        ({key: value for key, value in entry.items() if key != "time"} for entry in metadata["managedFields"]),
        key=lambda entry: (entry["manager"], entry.get("subresource", "")),
    )
    return {**obj, "metadata": metadata}


_OWN = ("name", "uid", "resourceVersion", "creationTimestamp")


async def test_what_the_server_stores_is_what_it_makes_of_the_merge_patch(
    installed: Server, kubectl: Kubectl, namespace: str, newer: ResourceKind, tmp_path: Path
) -> None:
    """The status, a newer release's fields in it, and all else of the object, its field managers among it."""
    apply(kubectl, newer, namespace, "put")
    apply(kubectl, newer, namespace, "patched")
    async with FaultProxy(installed.kubeconfig()) as proxy, client(proxy.kubeconfig(tmp_path), namespace) as cluster:
        put, patched = [await cluster.api.get(newer, namespace, name) for name in ("put", "patched")]
        assert put is not None
        assert patched is not None
        assert comparable(put) == comparable(patched)
        before = comparable(put)
        # As a newer release does: nested fields, and one whose default the server fills in.
        first: Document = {"newest": {"level": 8, "x": {"y": [None, {"z": 1}], "big": 2**60}}, "phase": "Queued"}
        for patch in (first, {"newest": {"level": None}}, *PATCHES):
            answers = [
                await cluster.writer.write_status(newer, stored(newer, put), patch),
                await cluster.writer.patch(
                    newer,
                    namespace,
                    "patched",
                    resource_version=patched["metadata"]["resourceVersion"],
                    body={"status": patch},
                    subresource="status",
                ),
            ]
            assert all(isinstance(answer, Written) for answer in answers), (patch, answers)
            put, patched = [answer.obj for answer in answers if isinstance(answer, Written)]
            assert json.dumps(comparable(put), sort_keys=True) == json.dumps(comparable(patched), sort_keys=True)
            assert put == await cluster.api.get(newer, namespace, "put")
        assert {method for method, _ in writes(proxy)[::2]} == {"PUT"}
        assert {method for method, _ in writes(proxy)[1::2]} == {"PATCH"}
    managers = [entry for entry in comparable(put)["metadata"]["managedFields"] if "subresource" not in entry]
    assert managers == before["metadata"]["managedFields"]
    assert put["spec"] == before["spec"]
    assert put["metadata"]["generation"] == 1


async def test_a_newer_releases_fields_stay_as_they_are(cluster: Client, newer: ResourceKind, namespace: str) -> None:
    body = {
        "apiVersion": newer.api_version,
        "kind": newer.kind,
        "metadata": {"name": "a", "namespace": namespace},
        "spec": {"moduleRef": {"name": "m"}},
    }
    await cluster.api.create(newer, namespace, body)
    made = await cluster.api.get(newer, namespace, "a")
    assert made is not None
    newest = {"level": 8, "x": {"y": [None, {"z": 1}], "half": 0.5, "empty": {}}}
    answer = await cluster.writer.write_status(newer, stored(newer, made), {"newest": newest})
    for patch in (STATUS, {"reason": None}, {"message": "another"}):
        assert isinstance(answer, Written)
        answer = await cluster.writer.write_status(newer, stored(newer, answer.obj), patch)
    assert isinstance(answer, Written)
    expected = {"phase": "Queued", "message": "another", "newest": newest, "observedGeneration": -1}
    assert answer.obj["status"] == expected


async def test_a_put_is_answered_with_the_object_and_carries_the_field_manager(
    installed: Server, namespace: str, tmp_path: Path
) -> None:
    async with (
        FaultProxy(installed.kubeconfig()) as proxy,
        client(proxy.kubeconfig(tmp_path), namespace) as cluster,
    ):
        answer = await write(cluster, await cluster.create_job())
        assert isinstance(answer, Written)
        assert answer.obj == await cluster.get_job()
        assert answer.obj["status"] == {"observedGeneration": -1, **STATUS}
        entries = [(each["manager"], each.get("subresource")) for each in answer.obj["metadata"]["managedFields"]]
        assert ("curation-operator", "status") in entries
        assert writes(proxy) == [("PUT", 200)]


async def test_a_cluster_scoped_kind_is_put_too(installed: Server, tmp_path: Path, namespace: str) -> None:
    name = f"put-{namespace}"
    async with (
        FaultProxy(installed.kubeconfig()) as proxy,
        client(proxy.kubeconfig(tmp_path), namespace, cuts=True) as cluster,
    ):
        body = {
            "apiVersion": CLUSTER_POLICIES.api_version,
            "kind": CLUSTER_POLICIES.kind,
            "metadata": {"name": name},
            "spec": {"cedar": "permit(principal, action, resource) when { false };"},
        }
        made = await cluster.api.create(CLUSTER_POLICIES, None, body)
        assert isinstance(made, Created), made
        uid = made.obj["metadata"]["uid"]
        try:
            while True:  # an operator that another test has borrowed sees it too, and writes its status
                found = await cluster.api.get(CLUSTER_POLICIES, None, name)
                assert found is not None
                answer = await cluster.writer.write_status(
                    CLUSTER_POLICIES, stored(CLUSTER_POLICIES, found), {"observedGeneration": 1}
                )
                if answer != Conflict():
                    break
        finally:
            await cluster.api.delete(CLUSTER_POLICIES, None, name, uid=uid, resource_version=None)
        assert isinstance(answer, Written)
        assert answer.obj["spec"] == found["spec"]
        assert writes(proxy)[-1] == ("PUT", 200)
        assert {method for method, _ in writes(proxy)} == {"PUT"}


async def test_the_uid_in_a_put_is_a_precondition(cluster: Client) -> None:
    """Even at the right version: as after a restore of etcd, where another object may have it."""
    job = await cluster.create_job()
    other = {**job, "metadata": {**job["metadata"], "uid": str(uuid4())}}
    assert await write(cluster, other) == Conflict()
    assert isinstance(await write(cluster, job), Written)


async def test_the_server_itself_takes_no_put_without_a_resource_version(installed: Server, cluster: Client) -> None:
    job = await cluster.create_job()
    body = status_body(JOBS, stored(JOBS, job), STATUS)
    path = JOBS.path(cluster.namespace, "a", "status")
    code, answer = await asyncio.to_thread(installed.request, "PUT", path, body)
    assert (code, answer["reason"]) == (422, "Invalid")
    assert "metadata.resourceVersion: Invalid value: 0: must be specified for an update" in answer["message"]


@pytest.mark.parametrize("applied", [True, False])
async def test_a_put_whose_connection_broke_is_unknown_and_was_sent_once(
    installed: Server, cluster: Client, namespace: str, tmp_path: Path, applied: bool
) -> None:
    """Of a PUT, which is idempotent to HTTP, an HTTP client may send a copy by itself: it would be answered 409."""
    job = await cluster.create_job()
    async with FaultProxy(installed.kubeconfig()) as proxy:
        fault = proxy.inject((lost_answer if applied else reset)("PUT", "/a/status", times=None))
        async with client(proxy.kubeconfig(tmp_path), namespace) as beyond:
            await beyond.get_job()  # so the PUT finds a connection that lives
            answer = await write(beyond, job)
        assert fault.hits == 1
        assert writes(proxy) == [("PUT", 200 if applied else None)]
    assert isinstance(answer, Unknown)
    assert ("message" in (await cluster.get_job())["status"]) is applied
    assert isinstance(await write(cluster, job, {"message": "again"}), Conflict if applied else Written)


async def test_a_status_that_was_cut_is_patched_and_loses_nothing(
    installed: Server, namespace: str, tmp_path: Path
) -> None:
    large = {"text": "x" * 70_000}
    async with (
        FaultProxy(installed.kubeconfig()) as proxy,
        client(proxy.kubeconfig(tmp_path), namespace, cuts=True) as cluster,
        client(installed.kubeconfig(), namespace) as admin,
    ):
        await write(admin, await admin.create_job(), {"phase": "Completed", "output": large})
        job = await cluster.get_job()
        assert "output" not in job["status"]  # it is over its bound
        answer = await write(cluster, job, {"message": "hello"})
        assert isinstance(answer, Written)
        # The answer is cut too, and so is what follows from it.
        assert isinstance(await write(cluster, answer.obj, {"reason": "Backoff"}), Written)
        assert writes(proxy) == [("PATCH", 200)] * 2
        found = await admin.get_job()
        assert found["status"].items() >= {"phase": "Completed", "message": "hello", "reason": "Backoff"}.items()
        assert found["status"]["output"] == large
        # Once it is small again, it is put.
        assert isinstance(await write(admin, found, {"output": None}), Written)
        assert isinstance(await write(cluster, await cluster.get_job(), {"reason": None}), Written)
        assert writes(proxy)[2:] == [("PUT", 200)]


async def test_without_the_right_to_update_a_status_is_patched_and_it_is_said_once(
    installed: Server,
    kubectl: Kubectl,
    namespace: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The role of an earlier release: no write is lost, and the right is used again some time after it was given."""
    user = f"old-role-{namespace[:40]}"
    rules = ("--resource=curationjobs.curation.dev", "--resource=curationjobs.curation.dev/status")
    kubectl("create", "role", "old", "-n", namespace, "--verb=get", "--verb=list", "--verb=patch", *rules)
    kubectl("create", "rolebinding", "old", "-n", namespace, "--role=old", f"--user={user}")
    await asyncio.to_thread(_until_allowed, kubectl, namespace, user, "patch")
    job = await _made(installed, namespace)
    async with (
        FaultProxy(installed.kubeconfig(user)) as proxy,
        client(proxy.kubeconfig(tmp_path), namespace, cuts=True) as cluster,
    ):
        with caplog.at_level(logging.WARNING, logger=writer_module.__name__):
            for number in range(3):
                answer = await write(cluster, job, {"message": str(number)})
                assert isinstance(answer, Written), answer
                assert answer.obj["status"]["message"] == str(number)
                job = answer.obj
        assert writes(proxy) == [("PUT", 403), ("PATCH", 200), ("PATCH", 200), ("PATCH", 200)]
        # Others' kinds are put as before: what is missing is known of this one.
        monkeypatch.setattr(writer_module, "PATCHES_SECONDS", 0.0)
        cluster.writer._puts_from[JOBS] = 0.0  # the time is over
        assert isinstance(await write(cluster, job, {"message": "again"}), Written)
        assert writes(proxy)[4:] == [("PUT", 403), ("PATCH", 200)]
        assert [record.getMessage() for record in caplog.records if record.name == writer_module.__name__] == [
            "The operator's role does not grant the verb update on curationjobs/status, so statuses are written by "
            "patches, which cost the API server more; apply the role of this release"
        ]
        kubectl("create", "role", "new", "-n", namespace, "--verb=update", *rules)
        kubectl("create", "rolebinding", "new", "-n", namespace, "--role=new", f"--user={user}")
        await asyncio.to_thread(_until_allowed, kubectl, namespace, user, "update")
        assert isinstance(await write(cluster, await cluster.get_job(), {"message": "put"}), Written)
        assert writes(proxy)[6:] == [("PUT", 200)]


async def _made(installed: Server, namespace: str) -> Document:
    async with client(installed.kubeconfig(), namespace) as admin:
        return await admin.create_job()


def _until_allowed(kubectl: Kubectl, namespace: str, user: str, verb: str) -> None:
    """The authorizer hears of a role a moment after it was made."""
    for _ in range(600):
        asked = ("auth", "can-i", verb, "curationjobs", "--subresource=status", "-n", namespace)
        if kubectl(*asked, user=user, check=False).returncode == 0:
            return
    raise AssertionError(f"{user} may not {verb} after 600 questions")


async def test_a_refusal_by_admission_is_no_missing_right_and_nothing_follows_it(
    installed: Server, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    name = f"refuse-put-{namespace}"
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
  - {{expression: "object.spec != oldObject.spec || object.metadata.?labels != oldObject.metadata.?labels",
     message: "the freeze is on", reason: Forbidden}}
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
    async with (
        FaultProxy(installed.kubeconfig()) as proxy,
        client(proxy.kubeconfig(tmp_path), namespace) as cluster,
    ):
        await cluster.create_job()
        kubectl("apply", "-f", "-", input=policy)
        try:

            async def refused() -> Refused | None:
                answer = await write(cluster, await cluster.get_job())
                return answer if isinstance(answer, Refused) else None

            answer = await eventually(refused, "the policy never took effect")
            assert answer.code == 403
            assert "the freeze is on" in answer.message
        finally:
            kubectl("delete", "-f", "-", input=policy)
        seen = writes(proxy)
        assert seen[-1] == ("PUT", 403)
        assert {method for method, _ in seen} == {"PUT"}


async def test_where_a_put_is_refused_since_it_shows_no_spec_the_next_write_of_that_object_is_a_patch(
    installed: Server, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    """Admission that changes objects comes before the server takes the spec from the stored one."""
    name = f"changes-status-{namespace}"
    policy = f"""
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules:
    - {{apiGroups: [curation.dev], apiVersions: [v1alpha1], operations: [UPDATE], resources: [curationjobs/status]}}
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: >-
        object.spec.moduleRef.name == "m" ? [] : [JSONPatch{{op: "remove", path: "/status"}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec:
  policyName: {name}
  matchResources:
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
"""
    async with (
        FaultProxy(installed.kubeconfig()) as proxy,
        client(proxy.kubeconfig(tmp_path), namespace, cuts=True) as cluster,
    ):
        await cluster.create_job()
        kubectl("apply", "-f", "-", input=policy)
        try:
            number = 0

            async def refused() -> Refused | None:
                nonlocal number
                number += 1
                answer = await write(cluster, await cluster.get_job(), {"message": f"m{number}"})
                return answer if isinstance(answer, Refused) else None

            answer = await eventually(refused, "the policy never took effect")
            assert "no such key: spec" in answer.message
            assert writes(proxy)[-1][0] == "PUT"
            landed = await write(cluster, await cluster.get_job())
            assert isinstance(landed, Written)
            assert landed.obj["status"]["message"] == "hello"
            assert isinstance(await write(cluster, landed.obj, {"message": "again"}), Written)
            assert writes(proxy)[-2:] == [("PATCH", 200)] * 2
        finally:
            kubectl("delete", "-f", "-", input=policy)

        async def another_is_put() -> bool:
            nonlocal number
            number += 1
            await write(cluster, await cluster.create_job(f"a-{number}"))
            return writes(proxy)[-1] == ("PUT", 200)

        await eventually(another_is_put, "the policy never went away")
