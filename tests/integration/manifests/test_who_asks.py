"""requested-by and edited-by of jobs: who created one, last changed its template or resumed it; nobody else can say."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from curation.api.names import REQUESTER_ANNOTATIONS
from testing.controlplane.connection import Connection, Kubectl
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from tests.integration.api.objects import job, read, text, until, write_status
from tests.integration.manifests.conftest import Bind

_ADMISSION = Path(__file__).parents[3] / "manifests" / "components" / "admission"
Names = tuple[str | None, str | None, str | None]
Author = Callable[[], str]


@pytest.fixture
def author(kubectl: Kubectl, bind: Bind) -> Author:
    """Makes job authors."""

    def made() -> str:
        user = bind("curation-job-author")
        until(lambda: kubectl("get", "cjob", user=user, check=False).returncode == 0)
        return user

    return made


def _names(connection: Connection, namespace: str) -> Names:
    """created-by, requested-by, edited-by."""
    annotations = read(connection, namespace, "curationjobs", "job")["metadata"].get("annotations", {})
    created, requested, edited = (annotations.get(name) for name in REQUESTER_ANNOTATIONS)
    return created, requested, edited


def _patch(kubectl: Kubectl, user: str, **spec: Any) -> None:
    kubectl("patch", "cjob", "job", "--type=merge", "-p", json.dumps({"spec": spec}), user=user)


_EDITS: dict[str, dict[str, Any]] = {
    "input": {"input": {"message": "other"}},
    "config": {"config": {"api_url": "https://elsewhere.example.com"}},
    "module": {"moduleRef": {"name": "other"}},
    "rerun": {"rerun": "2"},
}


@pytest.mark.parametrize("spec", _EDITS.values(), ids=_EDITS.keys())
def test_who_changes_the_template_asks_for_the_job(
    installed: Connection, namespace: str, kubectl: Kubectl, author: Author, spec: dict[str, Any]
) -> None:
    alice, bob = author(), author()
    kubectl("create", "-f", "-", input=text(job()), user=alice)
    assert _names(installed, namespace) == (alice, alice, None)
    _patch(kubectl, bob, **spec)
    # Only of the rerun the one who wrote what is run is somebody else.
    assert _names(installed, namespace) == (alice, bob, alice if "rerun" in spec else None)


def test_who_resumes_a_job_asks_for_it_and_hides_nobody_who_has_edited_it(
    installed: Connection, namespace: str, kubectl: Kubectl, author: Author
) -> None:
    alice, bob, carol = author(), author(), author()
    kubectl("create", "-f", "-", input=text(job(suspend=True)), user=alice)
    _patch(kubectl, bob, input={"message": "exfiltrate"})
    assert _names(installed, namespace) == (alice, bob, None)
    _patch(kubectl, carol, suspend=False)
    assert _names(installed, namespace) == (alice, carol, bob)
    _patch(kubectl, alice, rerun="once more")
    assert _names(installed, namespace) == (alice, alice, bob)
    _patch(kubectl, carol, input={"message": "harmless"})
    assert _names(installed, namespace) == (alice, carol, None)


_CONTROLS: dict[str, dict[str, Any]] = {
    "suspend": {"suspend": True},
    "retry": {"retry": {"limit": 7}},
    "timeouts": {"timeouts": {"runningSeconds": 60}},
    "onDenied": {"onDenied": "Fail"},
    "interval": {"observe": {"intervalSeconds": 30}},
    "old interval": {"observeIntervalSeconds": 30},
    "ttl": {"ttlSecondsAfterFinished": 60},
    "nothing": {},
}


@pytest.mark.parametrize("spec", _CONTROLS.values(), ids=_CONTROLS.keys())
def test_a_change_of_the_controls_asks_for_nothing(
    installed: Connection, namespace: str, kubectl: Kubectl, author: Author, spec: dict[str, Any]
) -> None:
    alice, bob = author(), author()
    kubectl("create", "-f", "-", input=text(job()), user=alice)
    _patch(kubectl, bob, **spec)
    kubectl("label", "cjob", "job", "team=b", user=bob)
    kubectl("annotate", "cjob", "job", "curation.dev/observe-requested-at=now", user=bob)
    assert _names(installed, namespace) == (alice, alice, None)


_FORGED = dict.fromkeys(REQUESTER_ANNOTATIONS, "mallory")


@pytest.mark.parametrize("way", ["create", "apply", "server-side apply"])
def test_nobody_forges_who_asks_at_creation(
    installed: Connection, namespace: str, kubectl: Kubectl, author: Author, way: str
) -> None:
    alice = author()
    document = job()
    document["metadata"]["annotations"] = {**_FORGED, "example.com/a": "b"}
    command = {"server-side apply": ("apply", "--server-side")}.get(way, (way,))
    kubectl(*command, "-f", "-", input=text(document), user=alice)
    assert _names(installed, namespace) == (alice, alice, None)


_ATTEMPTS: dict[str, tuple[str, ...]] = {
    "forged": ("patch", "cjob", "job", "--type=merge", "-p", json.dumps({"metadata": {"annotations": _FORGED}})),
    "stripped": ("patch", "cjob", "job", "--type=merge", "-p", '{"metadata":{"annotations":null}}'),
    "emptied": ("annotate", "cjob", "job", "--overwrite", *(f"{name}=" for name in REQUESTER_ANNOTATIONS)),
    "removed": ("annotate", "cjob", "job", *(f"{name}-" for name in REQUESTER_ANNOTATIONS)),
    "by json patch": (
        *("patch", "cjob", "job", "--type=json", "-p"),
        json.dumps([{"op": "replace", "path": "/metadata/annotations", "value": _FORGED}]),
    ),
    "through the status": (
        *("patch", "cjob", "job", "--subresource=status", "--type=merge", "-p"),
        json.dumps({"metadata": {"annotations": _FORGED}}),
    ),
}


@pytest.mark.parametrize("attempt", _ATTEMPTS.values(), ids=_ATTEMPTS.keys())
def test_nobody_changes_who_asked(
    installed: Connection, namespace: str, kubectl: Kubectl, author: Author, attempt: tuple[str, ...]
) -> None:
    alice, bob, mallory = author(), author(), author()
    kubectl("create", "-f", "-", input=text(job()), user=alice)
    _patch(kubectl, bob, input={"message": "bob's"})
    _patch(kubectl, alice, rerun="2")
    before = _names(installed, namespace)
    assert before == (alice, alice, bob)
    refused = kubectl(*attempt, user=mallory, check=False)  # Authors have no right to the status.
    assert refused.returncode == 0 or "--subresource=status" in attempt
    kubectl(*attempt)
    assert _names(installed, namespace) == before


def test_a_replacement_without_the_names_keeps_them_and_asks_only_for_what_it_changes(
    installed: Connection, namespace: str, kubectl: Kubectl, author: Author
) -> None:
    alice, bob = author(), author()
    kubectl("create", "-f", "-", input=text(job()), user=alice)
    kubectl("replace", "-f", "-", input=text(job()), user=bob)
    assert _names(installed, namespace) == (alice, alice, None)
    kubectl("replace", "-f", "-", input=text(job(onDenied="Fail")), user=bob)
    assert _names(installed, namespace) == (alice, alice, None)
    kubectl("replace", "-f", "-", input=text(job(rerun="2")), user=bob)
    assert _names(installed, namespace) == (alice, bob, alice)


def test_a_server_side_apply_of_what_is_there_already_asks_for_nothing(
    installed: Connection, namespace: str, kubectl: Kubectl, author: Author
) -> None:
    alice, bob = author(), author()
    kubectl("create", "-f", "-", input=text(job()), user=alice)
    kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text(job()), user=bob)
    assert _names(installed, namespace) == (alice, alice, None)


def test_the_operators_own_writes_ask_for_nothing(
    installed: Connection, namespace: str, kubectl: Kubectl, author: Author
) -> None:
    alice = author()
    kubectl("create", "-f", "-", input=text(job()), user=alice)
    patch = ("patch", "cjob", "job", "--type=merge", "-p", '{"metadata":{"finalizers":["curation.dev/session"]}}')
    kubectl(*patch, user=OPERATOR_USER, groups=OPERATOR_GROUPS)
    write_status(installed, namespace, "curationjobs", "job", {"phase": "Queued"})
    assert _names(installed, namespace) == (alice, alice, None)


def test_who_acts_as_another_is_that_other(
    installed: Connection, namespace: str, kubectl: Kubectl, author: Author
) -> None:
    alice, bob = author(), author()
    kubectl("create", "-f", "-", input=text(job()), user=alice)
    kubectl("patch", "cjob", "job", "--type=merge", "-p", '{"spec":{"rerun":"2"}}', f"--as={bob}")
    assert _names(installed, namespace) == (alice, bob, alice)


def test_both_policies_compute_the_names_alike() -> None:
    def until_due(name: str) -> list[dict[str, str]]:
        policy = next(yaml.safe_load_all((_ADMISSION / name).read_text(encoding="utf-8")))
        variables = policy["spec"]["variables"]
        found: list[dict[str, str]] = variables[: [each["name"] for each in variables].index("due") + 1]
        return found

    assert until_due("job-provenance.yaml") == until_due("job-provenance-check.yaml")
    for name in REQUESTER_ANNOTATIONS:
        assert name in until_due("job-provenance.yaml")[-1]["expression"]
