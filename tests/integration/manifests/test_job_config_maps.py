"""Who may have a ConfigMap read for a job: only who may get it. The operator could read each of the namespace."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from testing.controlplane.connection import Connection, Kubectl
from tests.integration.api.objects import job, read, text, until
from tests.integration.manifests.conftest import Bind

INPUT = {"configMapKeyRef": {"name": "work", "key": "input.json"}}
CONFIG = {"configMapRef": {"name": "settings"}}
REFUSED = "may not get: ask for that right"


@pytest.fixture
def author(kubectl: Kubectl, bind: Bind) -> str:
    """Somebody who may make jobs, and read no ConfigMap."""
    user = bind("curation-job-author")
    until(lambda: kubectl("get", "cjob", user=user, check=False).returncode == 0)
    return user


@pytest.fixture
def may_get(kubectl: Kubectl) -> Callable[[str, str], None]:
    """Lets a user get one ConfigMap."""

    def allowed(user: str, name: str) -> None:
        kubectl("create", "role", f"get-{name}", "--verb=get", "--resource=configmaps", f"--resource-name={name}")
        kubectl("create", "rolebinding", f"get-{name}", f"--role=get-{name}", f"--user={user}")
        asked = ("auth", "can-i", "get", f"configmaps/{name}")
        until(lambda: kubectl(*asked, user=user, check=False).returncode == 0)

    return allowed


@pytest.mark.parametrize(("spec", "name"), [({"inputFrom": INPUT}, "work"), ({"configFrom": CONFIG}, "settings")])
def test_who_may_not_get_a_config_map_cannot_name_it_in_a_new_job_nor_in_an_old_one(
    kubectl: Kubectl, author: str, spec: dict[str, Any], name: str
) -> None:
    field = f"spec.{next(iter(spec))}"
    # The policy is in effect a moment after it was made.
    until(lambda: REFUSED in kubectl("create", "-f", "-", "--dry-run=server", input=text(job("t", **spec)),
                                     user=author, check=False).stderr)  # fmt: skip
    created = kubectl("create", "-f", "-", input=text(job(**spec)), user=author, check=False)
    assert created.returncode != 0
    assert f"{field} names ConfigMap '{name}', which '{author}' {REFUSED}" in created.stderr
    kubectl("create", "-f", "-", input=text(job()), user=author)
    edited = kubectl("patch", "cjob", "job", "--type=merge", "-p", json.dumps({"spec": spec}), user=author, check=False)
    assert f"{field} names ConfigMap '{name}'" in edited.stderr


def test_who_may_get_a_config_map_may_name_it_and_others_may_edit_the_rest_of_the_job(
    installed: Connection, namespace: str, kubectl: Kubectl, author: str, bind: Bind,
    may_get: Callable[[str, str], None],
) -> None:  # fmt: skip
    may_get(author, "work")
    kubectl("create", "-f", "-", input=text(job(inputFrom=INPUT)), user=author)
    other = bind("curation-job-author")
    until(lambda: kubectl("get", "cjob", user=other, check=False).returncode == 0)
    other_key = {"configMapKeyRef": {"name": "work", "key": "other.json"}}
    for change in ({"rerun": "2"}, {"suspend": True}, {"inputFrom": other_key}, {"inputFrom": None}):
        kubectl("patch", "cjob", "job", "--type=merge", "-p", json.dumps({"spec": change}), user=other)
    # What the job runs was changed by somebody else, as a change of the input would be.
    annotations = read(installed, namespace, "curationjobs", "job")["metadata"]["annotations"]
    assert (annotations["curation.dev/created-by"], annotations["curation.dev/requested-by"]) == (author, other)
    again = kubectl(
        "patch",
        "cjob",
        "job",
        "--type=merge",
        "-p",
        json.dumps({"spec": {"inputFrom": INPUT}}),
        user=other,
        check=False,
    )
    assert REFUSED in again.stderr
