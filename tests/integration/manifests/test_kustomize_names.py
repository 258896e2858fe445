"""kustomize follows the names that it changes into modules and jobs, with the configuration that is shipped."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from curation.api.crd import CRD_KINDS, crd
from testing.controlplane.connection import Connection

_FOLDER = Path(__file__).parents[3] / "manifests" / "gitops" / "kustomize"


def _rendered(connection: Connection, folder: Path) -> dict[str, dict[str, Any]]:
    documents = yaml.safe_load_all(connection.kubectl("kustomize", str(folder)).stdout)
    return {document["kind"]: document for document in documents}


def test_the_names_of_a_sample_are_followed(control_plane: Connection) -> None:
    objects = _rendered(control_plane, _FOLDER / "sample")
    names = {kind: document["metadata"]["name"] for kind, document in objects.items()}
    assert names["ConfigMap"].startswith("team-a-hello-"), "its hash is part of it"
    module = objects["CurationModule"]["spec"]
    assert module["source"]["configMap"]["name"] == names["ConfigMap"]
    assert module["credentials"][0]["secretKeyRef"]["name"] == names["Secret"]
    assert objects["CurationJob"]["spec"]["moduleRef"]["name"] == names["CurationModule"] == "team-a-hello"


def _references(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The fields that name another object; `[]` stands for a list's one element."""
    if "items" in schema:
        yield from _references(schema["items"], (*path, "[]"))
    for key, value in schema.get("properties", {}).items():
        if "name" in value.get("properties", {}) and (key.endswith("Ref") or key == "configMap"):
            yield (*path, key)
        else:
            yield from _references(value, (*path, key))


def _with(path: tuple[str, ...], leaf: object) -> Any:
    if not path:
        return leaf
    return [_with(path[1:], leaf)] if path[0] == "[]" else {path[0]: _with(path[1:], leaf)}


def test_each_field_that_names_another_object_is_followed(control_plane: Connection, tmp_path: Path) -> None:
    """By kind of what is named: a module that the rendered text still calls by its old name would not be found."""
    named = {"secret": ("v1", "Secret"), "configmap": ("v1", "ConfigMap"), "module": ("", "CurationModule")}
    own = "curation.dev/v1alpha1"
    objects = [
        {"apiVersion": version or own, "kind": kind, "metadata": {"name": f"the-{word}"}}
        for word, (version, kind) in named.items()
    ]
    fields = []
    for kind in (each for each in CRD_KINDS if each.name in ("CurationJob", "CurationModule")):
        spec = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        for path in _references(spec):
            [word] = [word for word in named if word in path[-1].lower()]
            fields.append(path)
            body = _with(path, {"name": f"the-{word}"})
            made = {"apiVersion": own, "kind": kind.name, "metadata": {"name": f"names-{len(fields)}"}, "spec": body}
            objects.append(made)
    assert len(fields) == 6
    (tmp_path / "objects.yaml").write_text("---\n".join(json.dumps(each) + "\n" for each in objects), encoding="utf-8")
    (tmp_path / "name-reference.yaml").write_bytes((_FOLDER / "name-reference.yaml").read_bytes())
    kustomization = {
        "resources": ["objects.yaml"],
        "namePrefix": "team-a-",
        "configurations": ["name-reference.yaml"],
    }
    (tmp_path / "kustomization.yaml").write_text(json.dumps(kustomization), encoding="utf-8")
    rendered = list(yaml.safe_load_all(control_plane.kubectl("kustomize", str(tmp_path)).stdout))
    assert len(rendered) == len(objects)
    for document in rendered:
        assert "the-" not in json.dumps(document).replace("team-a-the-", ""), document


def test_the_sample_has_the_configuration_that_is_to_be_copied() -> None:
    assert (_FOLDER / "sample" / "name-reference.yaml").read_text() == (_FOLDER / "name-reference.yaml").read_text()
