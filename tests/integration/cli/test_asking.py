"""can-i: the answers of the gate, asked offline with what the user may read."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from testing.controlplane.connection import Kubectl
from tests.integration.cli.running import Objects, Plugin, request

URL = "https://sessions.example.test/sessions"


@pytest.fixture
def cluster_policy(objects: Objects) -> Iterator[str]:
    """A cluster policy that forbids one host that only this test speaks of."""
    name, host = f"{objects.namespace}-forbid", f"{objects.namespace}.example.test"
    cedar = f'forbid (principal, action, resource == HttpEndpoint::"{host}");'
    objects.create("clustercurationpolicies", "ClusterCurationPolicy", name, {"cedar": cedar})
    yield host
    objects.delete("clustercurationpolicies", name)


def test_yes_and_no_are_the_exit_code_and_the_policies_are_named(plugin: Plugin, objects: Objects) -> None:
    objects.module()
    objects.policy("allow", '@id("get-only") permit (principal, action, resource) when { context.method == "GET" };')
    yes = plugin("can-i", "get", URL).stdout
    assert yes.startswith("yes: GET https://sessions.example.test:443/sessions")
    assert f"CurationPolicy/{objects.namespace}/allow#get-only" in yes
    assert plugin("can-i", "POST", URL, code=1).stdout.startswith("no: no policy permits POST")


def test_a_cluster_policy_counts_and_who_may_not_read_it_is_warned(
    plugin: Plugin, objects: Objects, kubectl: Kubectl, cluster_policy: str
) -> None:
    objects.module()
    objects.policy("allow", "permit (principal, action, resource);")
    kubectl("create", "rolebinding", "v", "--clusterrole=curation-viewer", "--user=vic")
    url = f"https://{cluster_policy}/x"
    said = plugin("can-i", "GET", url, code=1).stdout
    assert f"is forbidden by ClusterCurationPolicy/{objects.namespace}-forbid#0" in said
    blind = plugin("can-i", "GET", url, user="vic", groups=("people",))
    assert blind.stdout.startswith("yes")
    assert "cluster policies are left out, and one of them may permit or forbid this call" in blind.stderr


def test_a_jobs_labels_name_and_next_attempt_are_what_the_policy_sees(plugin: Plugin, objects: Objects) -> None:
    objects.module()
    objects.policy(
        "team",
        'permit (principal, action, resource) when { context.labels.hasTag("team") && '
        'context.labels.getTag("team") == "a" && context.job == "build" && context.attempt == 2 };',
    )
    objects.job("build", labels={"team": "a"})
    plugin("can-i", "GET", URL, "--job", "build", code=1)
    objects.status("curationjobs", "build", phase="Failed", run=objects.run("build"))
    plugin("can-i", "GET", URL, "--job", "build")
    plugin("can-i", "GET", URL, "--module", "build-session-message", code=1)


def test_the_trigger_can_be_chosen(plugin: Plugin, objects: Objects) -> None:
    objects.module()
    objects.policy("stop", 'permit (principal, action, resource) when { context.trigger == "Cancel" };')
    plugin("can-i", "POST", URL, code=1)
    plugin("can-i", "POST", URL, "--trigger", "cancel")


def test_an_expired_or_revoked_grant_no_longer_counts(plugin: Plugin, objects: Objects) -> None:
    objects.module()
    name = objects.approval(request(query=""))
    spec = {"decision": "Approved", "expiresAt": "2020-01-01T00:00:00Z"}
    objects.patch("curationapprovals", name, {"spec": spec})
    plugin("can-i", "POST", URL, code=1)
    assert "Expired" in plugin("approvals").stdout
    assert "has expired; delete it" in plugin("approve", name, code=1).stderr


def test_a_policy_that_never_was_valid_changes_no_answer_and_is_named(plugin: Plugin, objects: Objects) -> None:
    objects.module()
    objects.policy("broken", "forbid (principal, action, resource) when { context.nonsense };")
    answer = json.loads(plugin("can-i", "GET", URL, "-o", "json", code=1).stdout)
    assert answer["allowed"] is False
    assert f"; CurationPolicy/{objects.namespace}/broken is invalid" in answer["reason"]
    objects.policy("allow", "permit (principal, action, resource);")
    answer = json.loads(plugin("can-i", "GET", URL, "-o", "json").stdout)
    assert answer["policies"] == [f"CurationPolicy/{objects.namespace}/allow#0"]
    [note] = answer["notes"]
    assert note.startswith(f"invalid: CurationPolicy {objects.namespace}/broken: ValidationError: ")
    assert "nothing of this object counts" in note


def test_an_address_below_the_floor_is_noted(plugin: Plugin, objects: Objects) -> None:
    objects.module()
    objects.policy("allow", "permit (principal, action, resource);")
    result = plugin("can-i", "GET", "http://127.0.0.1:8080/x")
    assert result.stdout.startswith("yes")
    assert "beneath all policies is the address floor: 127.0.0.1 is a loopback address" in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("GET", "ftp://x/"), "no module can make this call"),
        (("GET", "https://u:p@x/"), "no module can make this call"),
        (("GET", URL, "--job", "a", "--module", "b"), "not both"),
        (("GET", URL), "say who calls, with --job or --module"),
        (("GET", URL, "--trigger", "now"), "none of Submit, Observe, Cancel"),
        (("GET", URL, "--job", "../x"), "is not the name of a CurationJob"),
    ],
)
def test_a_question_that_cannot_be_asked_is_wrong_usage(plugin: Plugin, args: tuple[str, ...], said: str) -> None:
    assert said in plugin("can-i", *args, code=2).stderr
