"""created-by and the session finalizer of jobs: set at creation, kept through every update, free at deletion."""

import functools
import json
from typing import Any

import pytest

from curation.api.names import ANNOTATION_CREATED_BY, REQUESTER_ANNOTATIONS, SESSION_FINALIZER
from testing.controlplane.connection import Connection, Kubectl
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from tests.integration.api.objects import Document, create, job, path, read, text, until
from tests.integration.manifests.conftest import Bind, Edits


@pytest.fixture
def author(kubectl: Kubectl, bind: Bind) -> str:
    """A job author."""
    user = bind("curation-job-author")
    until(lambda: kubectl("get", "cjob", user=user, check=False).returncode == 0)
    return user


@pytest.fixture
def other(kubectl: Kubectl, bind: Bind) -> str:
    """Another one."""
    user = bind("curation-job-author")
    until(lambda: kubectl("get", "cjob", user=user, check=False).returncode == 0)
    return user


def _marks(connection: Connection, namespace: str) -> tuple[str, list[str]]:
    metadata = read(connection, namespace, "curationjobs", "job")["metadata"]
    return metadata["annotations"][ANNOTATION_CREATED_BY], metadata["finalizers"]


def _forged(**metadata: Any) -> Document:
    document = job()
    document["metadata"].update(metadata)
    return document


_CREATIONS = {
    "plainly": job(),
    "with a forged creator": _forged(annotations={ANNOTATION_CREATED_BY: "somebody-else"}),
    "with other annotations": _forged(annotations={"example.com/a": "b"}),
    "with an empty creator": _forged(annotations={ANNOTATION_CREATED_BY: ""}),
}


@pytest.mark.parametrize("document", _CREATIONS.values(), ids=_CREATIONS.keys())
@pytest.mark.parametrize("way", ["create", "apply", "server-side apply"])
def test_a_job_records_who_created_it(
    installed: Connection, namespace: str, kubectl: Kubectl, author: str, document: Document, way: str
) -> None:
    command = {"server-side apply": ("apply", "--server-side")}.get(way, (way,))
    kubectl(*command, "-f", "-", input=text(document), user=author)
    assert _marks(installed, namespace) == (author, [SESSION_FINALIZER])
    given = document["metadata"].get("annotations", {})
    found = read(installed, namespace, "curationjobs", "job")["metadata"]["annotations"]
    others = {key: value for key, value in given.items() if key not in REQUESTER_ANNOTATIONS}
    assert {key: found[key] for key in others} == others


def test_finalizers_of_others_stay_beside_ours(
    installed: Connection, namespace: str, kubectl: Kubectl, author: str
) -> None:
    kubectl("create", "-f", "-", input=text(_forged(finalizers=["example.com/hold"])), user=author)
    assert _marks(installed, namespace)[1] == ["example.com/hold", SESSION_FINALIZER]
    kubectl("patch", "cjob", "job", "--type=merge", "-p", '{"metadata":{"finalizers":null}}', user=author)
    assert _marks(installed, namespace)[1] == [SESSION_FINALIZER], "theirs was theirs to remove"


_STRIPPED = '{"metadata":{"finalizers":null,"annotations":null}}'
_FORGED = json.dumps({"metadata": {"annotations": {ANNOTATION_CREATED_BY: "mallory"}}})


@pytest.mark.parametrize("patch", [_STRIPPED, _FORGED], ids=["stripped", "forged"])
def test_a_patch_changes_neither(
    installed: Connection, namespace: str, kubectl: Kubectl, author: str, other: str, patch: str
) -> None:
    kubectl("create", "-f", "-", input=text(job()), user=author)
    kubectl("patch", "cjob", "job", "--type=merge", "-p", patch, user=other)
    assert _marks(installed, namespace) == (author, [SESSION_FINALIZER])


_STRIPPING_EDIT = r"/curation.dev\/session/d;s/finalizers:/finalizers: []/"
_FORGING_EDIT = "s/created-by: .*/created-by: mallory/"


@pytest.mark.parametrize("expression", [_STRIPPING_EDIT, _FORGING_EDIT], ids=["stripped", "forged"])
def test_an_edit_changes_neither(
    installed: Connection, namespace: str, kubectl: Kubectl, author: str, other: str, edits: Edits, expression: str
) -> None:
    kubectl("create", "-f", "-", input=text(job()), user=author)
    edits(expression)
    kubectl("edit", "cjob", "job", user=other)
    assert _marks(installed, namespace) == (author, [SESSION_FINALIZER])


def test_replace_keeps_both(installed: Connection, namespace: str, kubectl: Kubectl, author: str, other: str) -> None:
    kubectl("create", "-f", "-", input=text(job()), user=author)
    kubectl("replace", "-f", "-", input=text(job(rerun="2")), user=other)
    assert _marks(installed, namespace) == (author, [SESSION_FINALIZER])
    assert read(installed, namespace, "curationjobs", "job")["spec"]["rerun"] == "2"


def test_server_side_apply_by_another_keeps_both(
    installed: Connection, namespace: str, kubectl: Kubectl, author: str, other: str
) -> None:
    kubectl("create", "-f", "-", input=text(job()), user=author)
    forged = _forged(annotations={ANNOTATION_CREATED_BY: "mallory"})
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text(forged), user=other)
    assert _marks(installed, namespace) == (author, [SESSION_FINALIZER])


def test_server_side_apply_of_a_manifest_without_them_is_no_conflict_and_no_change(
    installed: Connection, namespace: str, kubectl: Kubectl, author: str
) -> None:
    for _ in range(2):
        kubectl("apply", "--server-side", "-f", "-", input=text(job()), user=author)
    before = read(installed, namespace, "curationjobs", "job")["metadata"]
    kubectl("apply", "--server-side", "-f", "-", input=text(job()), user=author)
    assert read(installed, namespace, "curationjobs", "job")["metadata"] == before


def test_the_operator_takes_the_finalizer_off_a_deleted_job(
    installed: Connection, namespace: str, kubectl: Kubectl, author: str
) -> None:
    kubectl("create", "-f", "-", input=text(job()), user=author)
    operator = functools.partial(kubectl, user=OPERATOR_USER, groups=OPERATOR_GROUPS)
    patch = ("patch", "cjob", "job", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    operator(*patch)
    assert _marks(installed, namespace) == (author, [SESSION_FINALIZER]), "not before the deletion"
    kubectl("delete", "cjob", "job", "--wait=false", user=author)
    deleted = read(installed, namespace, "curationjobs", "job")["metadata"]
    assert deleted["deletionTimestamp"]
    kubectl("annotate", "cjob", "job", f"{ANNOTATION_CREATED_BY}=mallory", "--overwrite", user=author)
    assert _marks(installed, namespace) == (author, [SESSION_FINALIZER])
    operator(*patch)
    assert installed.request("GET", path(namespace, "curationjobs", "job"))[0] == 404


def test_a_generated_name_is_marked_too(installed: Connection, namespace: str) -> None:
    document = job()
    document["metadata"] = {"generateName": "nightly-"}
    made = create(installed, namespace, "curationjobs", document)
    assert made["metadata"]["annotations"][ANNOTATION_CREATED_BY] == "admin"
    assert made["metadata"]["finalizers"] == [SESSION_FINALIZER]
