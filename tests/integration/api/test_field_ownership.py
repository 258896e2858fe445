"""Server-side apply: input and config belong as wholes to whoever applied them, and defaults to nobody."""

from typing import Any

from testing.controlplane.connection import Connection, Kubectl
from tests.integration.api.objects import Document, job, module, read, text, write_status


def _apply(kubectl: Kubectl, manager: str, document: Document, *options: str) -> str:
    command = ("apply", "--server-side", f"--field-manager={manager}", *options, "-f", "-")
    return kubectl(*command, input=text(document), check=False).stderr


def _owned(connection: Connection, namespace: str, plural: str, manager: str) -> dict[str, Any]:
    found = read(connection, namespace, plural, "job" if plural == "curationjobs" else "module")
    entries = [entry for entry in found["metadata"]["managedFields"] if entry["manager"] == manager]
    assert len(entries) == 1
    return dict(entries[0]["fieldsV1"]["f:spec"])


def test_input_and_config_are_owned_as_wholes(installed: Connection, namespace: str, kubectl: Kubectl) -> None:
    assert _apply(kubectl, "git", job(input={"a": {"b": 1}}, config={"k": "v"})) == ""
    owned = _owned(installed, namespace, "curationjobs", "git")
    assert owned["f:input"] == {}
    assert owned["f:config"] == {}


def test_a_second_manager_cannot_slip_a_key_into_an_input(
    installed: Connection, namespace: str, kubectl: Kubectl
) -> None:
    _apply(kubectl, "git", job(input={"a": 1}, config={"k": "v"}))
    assert ".spec.input" in _apply(kubectl, "other", job(input={"b": 2}))
    assert ".spec.config" in _apply(kubectl, "other", job(config={"other": "x"}))
    assert read(installed, namespace, "curationjobs", "job")["spec"]["input"] == {"a": 1}


def test_a_key_that_leaves_the_manifest_leaves_the_input(
    installed: Connection, namespace: str, kubectl: Kubectl
) -> None:
    _apply(kubectl, "git", job(input={"a": 1, "b": 2}, config={"k": "v", "l": "w"}))
    _apply(kubectl, "git", job(input={"a": 1}, config={"k": "v"}))
    spec = read(installed, namespace, "curationjobs", "job")["spec"]
    assert (spec["input"], spec["config"]) == ({"a": 1}, {"k": "v"})


def test_an_applier_does_not_own_the_defaults(installed: Connection, namespace: str, kubectl: Kubectl) -> None:
    _apply(kubectl, "git", job())
    assert set(_owned(installed, namespace, "curationjobs", "git")) == {"f:moduleRef"}
    assert _apply(kubectl, "curation", {**job(), "spec": {"moduleRef": {"name": "module"}, "suspend": True}}) == ""


def test_a_control_of_another_manager_is_a_conflict_that_names_it(kubectl: Kubectl) -> None:
    _apply(kubectl, "git", job(suspend=False))
    refusal = _apply(kubectl, "curation", job(suspend=True))
    assert '"git"' in refusal
    assert ".spec.suspend" in refusal
    assert _apply(kubectl, "curation", job(suspend=True), "--force-conflicts") == ""


def test_the_config_of_a_module_is_owned_as_a_whole_and_its_credentials_one_by_one(
    installed: Connection, namespace: str, kubectl: Kubectl
) -> None:
    def credential(host: str) -> Document:
        return {"scheme": "https", "host": host, "port": 443, "header": "X", "secretKeyRef": {"name": "s", "key": "k"}}

    _apply(kubectl, "git", module(config={"k": "v"}, credentials=[credential("a.example")]))
    assert _owned(installed, namespace, "curationmodules", "git")["f:config"] == {}
    assert _apply(kubectl, "other", module(credentials=[credential("b.example")])) == ""
    found = read(installed, namespace, "curationmodules", "module")["spec"]["credentials"]
    assert sorted(item["host"] for item in found) == ["a.example", "b.example"]


def test_applying_the_same_manifest_again_makes_no_new_version(
    installed: Connection, namespace: str, kubectl: Kubectl
) -> None:
    _apply(kubectl, "git", job(input={"a": 1}))
    # The first write after the creation, here the operator's, also stores the default of status.
    write_status(installed, namespace, "curationjobs", "job", {"phase": "Queued"})
    before = read(installed, namespace, "curationjobs", "job")["metadata"]
    _apply(kubectl, "git", job(input={"a": 1}))
    assert read(installed, namespace, "curationjobs", "job")["metadata"] == before
