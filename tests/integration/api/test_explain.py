"""`kubectl explain` is documentation: every field of every kind has a description, as the server publishes it."""

from collections.abc import Iterator

import pytest

from curation.api.crd import CRD_KINDS, Kind
from testing.controlplane.connection import Connection
from tests.integration.api.objects import API_VERSION, Document


def _published(connection: Connection) -> dict[str, Document]:
    status, document = connection.request("GET", f"/openapi/v3/apis/{API_VERSION}")
    assert status == 200
    schemas: dict[str, Document] = document["components"]["schemas"]
    return {
        name.rpartition(".")[2]: schema
        for name, schema in schemas.items()
        if "x-kubernetes-group-version-kind" in schema
    }


def _walk(schema: Document, where: str) -> Iterator[tuple[str, Document]]:
    """Every field below a schema with its path, metadata left out: that is the server's own."""
    for name, field in schema.get("properties", {}).items():
        if (where, name) == ("", "metadata"):
            continue
        path = f"{where}.{name}".lstrip(".")
        yield path, field
        yield from _walk(field, path)
        yield from _walk(field.get("items", {}), path)


@pytest.mark.parametrize("kind", CRD_KINDS, ids=lambda kind: kind.name)
def test_every_published_field_has_a_description(installed: Connection, kind: Kind) -> None:
    schema = _published(installed)[kind.name]
    fields = dict(_walk(schema, ""))
    assert len(fields) > 10
    assert [path for path, field in fields.items() if len(field.get("description", "").strip()) < 8] == []
    assert schema["description"].strip()


@pytest.mark.parametrize("kind", CRD_KINDS, ids=lambda kind: kind.name)
def test_kubectl_explain_describes_each_object_and_its_fields(installed: Connection, kind: Kind) -> None:
    schema = _published(installed)[kind.name]
    objects = [path for path, field in _walk(schema, "") if "properties" in {**field, **field.get("items", {})}]
    for path in ["", *objects]:
        target = f"{kind.short_name}.{path}".rstrip(".")
        said = installed.kubectl("explain", target).stdout
        assert "DESCRIPTION:\n" in said, target
        assert "<no description>" not in said, target
        assert "FIELDS:" in said, target
