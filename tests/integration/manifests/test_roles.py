"""The ClusterRoles for people: every role, every verb, every kind, asked of the API server's own authorizer."""

import itertools

import pytest

from testing.controlplane.connection import Connection, Kubectl
from tests.integration.api.objects import Document, approval, create, job, module, policy, text, until
from tests.integration.manifests.conftest import Bind, Edits

_READ = frozenset({"get", "list", "watch"})
_WRITE = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_VERBS = sorted(_READ | _WRITE | {"approve"})
_KINDS = ("curationjobs", "curationmodules", "curationpolicies", "clustercurationpolicies", "curationapprovals")
_NOTHING: frozenset[str] = frozenset()

# Every role sees everything; this is what it may do besides.
_MAY: dict[str, dict[str, frozenset[str]]] = {
    "curation-viewer": {},
    "curation-job-author": {"curationjobs": _WRITE},
    "curation-approver": {"curationapprovals": frozenset({"update", "patch", "delete", "approve"})},
    "curation-policy-admin": {
        "curationmodules": _WRITE,
        "curationpolicies": _WRITE,
        "clustercurationpolicies": _WRITE,
    },
    # Kubernetes' own, by aggregation: never policies, modules or approvals.
    "view": {},
    "edit": {"curationjobs": _WRITE},
    "admin": {"curationjobs": _WRITE},
}


def _allowed(
    connection: Connection, namespace: str, user: str, verb: str, resource: str, subresource: str = ""
) -> bool:
    review = {
        "spec": {
            "user": user,
            "groups": ["system:authenticated"],
            "resourceAttributes": {
                "group": "curation.dev",
                "resource": resource,
                "subresource": subresource,
                "verb": verb,
                "namespace": namespace,
            },
        }
    }
    status, answer = connection.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    assert status == 201, answer
    return bool(answer["status"]["allowed"])


@pytest.mark.parametrize("role", _MAY)
def test_a_role_may_do_exactly_what_the_table_says(
    installed: Connection, namespace: str, bind: Bind, role: str
) -> None:
    user = bind(role)
    expected = {(kind, verb) for kind in _KINDS for verb in _READ | _MAY[role].get(kind, _NOTHING)}
    # Bindings and aggregation reach the authorizer a moment after they are made.
    until(lambda: all(_allowed(installed, namespace, user, verb, kind) for kind, verb in expected))
    found = {
        (kind, verb)
        for kind, verb in itertools.product(_KINDS, _VERBS)
        if _allowed(installed, namespace, user, verb, kind)
    }
    assert found == expected


@pytest.mark.parametrize("role", _MAY)
def test_no_role_may_write_a_status(installed: Connection, namespace: str, bind: Bind, role: str) -> None:
    user = bind(role)
    until(lambda: _allowed(installed, namespace, user, "watch", "curationapprovals"))
    assert not any(
        _allowed(installed, namespace, user, verb, kind, "status")
        for kind, verb in itertools.product(_KINDS, ("update", "patch"))
    )


def test_somebody_without_a_role_sees_nothing(installed: Connection, namespace: str) -> None:
    assert not any(
        _allowed(installed, namespace, "nobody", verb, kind) for kind, verb in itertools.product(_KINDS, _VERBS)
    )


def test_a_job_author_works_with_jobs_as_usual(kubectl: Kubectl, bind: Bind, edits: Edits) -> None:
    author = bind("curation-job-author")
    until(lambda: kubectl("get", "cjob", user=author, check=False).returncode == 0)
    edits("s/suspend: false/suspend: true/")
    kubectl("create", "-f", "-", input=text(job()), user=author)
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text(job(rerun="1")), user=author)
    kubectl("patch", "cjob", "job", "--type=merge", "-p", '{"spec":{"rerun":"2"}}', user=author)
    kubectl("edit", "cjob", "job", user=author)
    shown = kubectl("get", "cjob", "job", "-o", "jsonpath={.spec.rerun} {.spec.suspend}", user=author).stdout
    assert shown == "2 true"
    kubectl("replace", "-f", "-", input=text(job(rerun="3")), user=author)
    kubectl("delete", "cjob", "--all", "--wait=false", user=author)


def test_a_policy_admin_works_with_modules_and_policies_as_usual(kubectl: Kubectl, bind: Bind, edits: Edits) -> None:
    admin = bind("curation-policy-admin")
    until(lambda: kubectl("get", "curationpolicies", user=admin, check=False).returncode == 0)
    for plural, document, path, edit in (
        ("curationpolicies", policy("it"), "{.spec.cedar}", "s/permit/forbid/"),
        ("curationmodules", module("it"), "{.spec.limits.httpCalls}", "s/httpCalls: 64/httpCalls: 63/"),
    ):

        def shown(plural: str = plural, path: str = path) -> str:
            return kubectl("get", plural, "it", "-o", f"jsonpath={path}", user=admin).stdout

        kubectl("create", "-f", "-", input=text(document), user=admin)
        made = shown()
        edits(edit)
        kubectl("edit", plural, "it", user=admin)
        assert shown() != made
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text(document), user=admin)
        kubectl("patch", plural, "it", "--type=merge", "-p", text({"spec": document["spec"]}), user=admin)
        kubectl("replace", "-f", "-", input=text(document), user=admin)
        assert shown() == made
        kubectl("delete", plural, "--all", "--wait=false", user=admin)


@pytest.mark.parametrize("role", _MAY)
def test_a_binding_in_one_namespace_lets_nobody_write_a_cluster_policy(kubectl: Kubectl, bind: Bind, role: str) -> None:
    user = bind(role)
    document = {**policy(f"of-{role}"), "kind": "ClusterCurationPolicy"}
    until(lambda: kubectl("get", "cjob", user=user, check=False).returncode == 0)
    for attempt in (("create", "-f", "-"), ("apply", "--server-side", "-f", "-")):
        result = kubectl(*attempt, input=text(document), user=user, check=False)
        assert "is forbidden: User" in result.stderr, f"{attempt}: {result.stdout} {result.stderr}"


_FORBIDDEN_WRITES = {
    ("curation-viewer", "curationjobs"),
    ("curation-approver", "curationjobs"),
    ("curation-policy-admin", "curationjobs"),
    ("curation-job-author", "curationmodules"),
    ("curation-approver", "curationmodules"),
    ("curation-job-author", "curationpolicies"),
    ("curation-approver", "curationpolicies"),
    ("edit", "curationpolicies"),
    ("admin", "curationpolicies"),
    ("curation-job-author", "curationapprovals"),
    ("curation-policy-admin", "curationapprovals"),
    ("edit", "curationapprovals"),
    ("admin", "curationapprovals"),
}
# A good object, a change to its spec, and the like change in an editor.
_OBJECTS: dict[str, tuple[Document, Document, str]] = {
    "curationjobs": (job("it"), {"rerun": "x"}, 's/rerun: ""/rerun: x/'),
    "curationmodules": (module("it"), {"config": {"x": "y"}}, "s/httpCalls: 64/httpCalls: 63/"),
    "curationpolicies": (policy("it"), {"cedar": "//"}, "s/permit/forbid/"),
    "curationapprovals": (approval("it"), {"decision": "Approved"}, "s/decision: Pending/decision: Approved/"),
}


@pytest.mark.parametrize(("role", "plural"), sorted(_FORBIDDEN_WRITES))
def test_a_forbidden_write_is_forbidden_in_every_way(
    installed: Connection,
    namespace: str,
    kubectl: Kubectl,
    bind: Bind,
    edits: Edits,
    role: str,
    plural: str,
) -> None:
    user = bind(role)
    document, change, edit = _OBJECTS[plural]
    made = create(installed, namespace, plural, document)
    changed = text({**document, "spec": {**document["spec"], **change}})
    # The binding works, so that what follows is refused by the role and not for want of one.
    until(lambda: kubectl("get", plural, "it", user=user, check=False).returncode == 0)
    edits(edit)
    kubectl_patch = ("patch", plural, "it", "--type=merge", "-p", text({"spec": change}))
    attempts = {
        "create": kubectl(
            "create", "-f", "-", input=text({**document, "metadata": {"name": "x"}}), user=user, check=False
        ),
        "patch": kubectl(*kubectl_patch, user=user, check=False),
        "edit": kubectl("edit", plural, "it", user=user, check=False),
        "replace": kubectl("replace", "-f", "-", input=changed, user=user, check=False),
        "server-side apply": kubectl("apply", "--server-side", "-f", "-", input=changed, user=user, check=False),
        "delete": kubectl("delete", plural, "it", user=user, check=False),
        "status": kubectl(*kubectl_patch, "--subresource=status", user=user, check=False),
    }
    for how, result in attempts.items():
        assert "is forbidden: User" in result.stderr, f"{how}: {result.stdout} {result.stderr}"
    kept = installed.kubectl("get", plural, "it", "-n", namespace, "-o", "jsonpath={.metadata.resourceVersion}").stdout
    assert kept == made["metadata"]["resourceVersion"]
