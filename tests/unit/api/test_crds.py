"""The generated CRDs: what must hold of every one, and that the files are what the models say."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from curation.api.crd import CRD_KINDS, Kind, crd, crd_yaml, crds
from hack import generate

_KINDS = pytest.mark.parametrize("kind", CRD_KINDS, ids=lambda kind: kind.name)


def _schema(kind: Kind) -> dict[str, Any]:
    return dict(crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


def _nodes(schema: dict[str, Any], where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield where, schema
    for name, child in schema.get("properties", {}).items():
        yield from _nodes(child, f"{where}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from _nodes(schema[key], f"{where}[]")


def test_these_are_the_kinds() -> None:
    assert [(kind.name, kind.plural, kind.short_name, kind.namespaced) for kind in CRD_KINDS] == [
        ("CurationJob", "curationjobs", "cjob", True),
        ("CurationModule", "curationmodules", "cmod", True),
        ("CurationPolicy", "curationpolicies", "curpol", True),
        ("ClusterCurationPolicy", "clustercurationpolicies", "ccurpol", False),
        ("CurationApproval", "curationapprovals", "cappr", True),
    ]


@_KINDS
def test_every_field_has_a_description_and_a_type(kind: Kind) -> None:
    for where, node in _nodes(_schema(kind)):
        assert "type" in node, where
        if not where.endswith("[]") and not where.startswith(".metadata"):
            assert len(node.get("description", "")) >= 8, where


@_KINDS
def test_every_text_and_list_of_a_spec_has_a_bound(kind: Kind) -> None:
    for where, node in _nodes(_schema(kind)["properties"]["spec"], ".spec"):
        if node["type"] == "string":
            assert node.keys() & {"maxLength", "enum", "format"}, where
        if node["type"] == "array":
            assert "maxItems" in node, where
        if node["type"] == "integer":
            assert node.keys() >= {"minimum", "maximum"}, where
        if "additionalProperties" in node:
            assert "maxProperties" in node, where


@_KINDS
def test_every_rule_says_what_to_do_in_words(kind: Kind) -> None:
    rules = [rule for _, node in _nodes(_schema(kind)) for rule in node.get("x-kubernetes-validations", ())]
    assert all(len(rule["message"]) > 20 and rule["message"] != rule["rule"] for rule in rules)
    assert all(rule["message"] == " ".join(rule["message"].split()) for rule in rules), "one line each"


@_KINDS
def test_only_observed_generation_has_a_default_in_a_status(kind: Kind) -> None:
    status = _schema(kind)["properties"]["status"]
    defaults = {where: node["default"] for where, node in _nodes(status, "status") if "default" in node}
    assert defaults == {"status": {"observedGeneration": -1}, "status.observedGeneration": -1}


@_KINDS
def test_conditions_are_a_map_by_type(kind: Kind) -> None:
    conditions = _schema(kind)["properties"]["status"]["properties"]["conditions"]
    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])


def test_only_jobs_are_in_the_category_all() -> None:
    categories = {kind.name: crd(kind)["spec"]["names"]["categories"] for kind in CRD_KINDS}
    assert categories.pop("CurationJob") == ["all", "curation"]
    assert set(map(tuple, categories.values())) == {("curation",)}


def test_free_form_documents_are_atomic() -> None:
    properties = _schema(CRD_KINDS[0])["properties"]
    free = (
        properties["spec"]["properties"]["input"],
        properties["status"]["properties"]["output"],
        properties["status"]["properties"]["session"]["properties"]["progress"],
    )
    for node in free:
        assert node["x-kubernetes-preserve-unknown-fields"] is True
        assert node["x-kubernetes-map-type"] == "atomic"
    assert properties["spec"]["properties"]["config"]["x-kubernetes-map-type"] == "atomic"


def test_the_text_of_a_crd_reads_back_as_the_crd() -> None:
    assert [yaml.safe_load(crd_yaml(document)) for document in crds()] == list(crds())


def test_the_generated_files_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main(["--check"]) == 0, capsys.readouterr().out


def test_generating_twice_gives_the_same_text() -> None:
    assert generate.generated() == generate.generated()


def test_check_shows_a_difference_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    edited = tmp_path / "crds" / "curationjobs.yaml"
    edited.write_text(edited.read_text().replace("shortNames", "shorterNames"))
    (tmp_path / "crds" / "old.yaml").write_text("")
    capsys.readouterr()
    assert generate.main(["--check"]) == 1
    shown = capsys.readouterr()
    assert "-    shorterNames:\n+    shortNames:\n" in shown.out
    assert "no longer generated: crds/old.yaml" in shown.out
    assert "make generate" in shown.err
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    assert not (tmp_path / "crds" / "old.yaml").exists()


def test_every_generated_file_says_that_it_is_generated_or_is_json_or_the_copied_world() -> None:
    world = generate.WORLD.read_text()
    for path, text in generate.generated().items():
        plain = path.endswith(".json") or (path.endswith(".wit") and text == world)
        assert plain or "do not edit" in text.splitlines()[0], path
