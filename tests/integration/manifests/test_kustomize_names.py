"""kustomize follows the names that it changes into modules and jobs, with the configuration that is shipped."""

from pathlib import Path
from typing import Any

import yaml

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


def test_the_sample_has_the_configuration_that_is_to_be_copied() -> None:
    assert (_FOLDER / "sample" / "name-reference.yaml").read_text() == (_FOLDER / "name-reference.yaml").read_text()
