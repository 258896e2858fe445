"""The published schemas of the module contract say what the host itself accepts and sends."""

import json
from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from curation.api.contract import StorableObject, contract_schemas, result_adapter
from curation.execution.run_document import context_document
from curation.execution.seam import ExecutionRequest, ModuleBuild
from curation.lifecycle.outcome import RunKey, Trigger

DOCUMENTS = {
    "RunContext",
    "HttpCallRequest",
    "HttpCallResponse",
    "HttpCallError",
    "SubmitResult",
    "ObserveResult",
    "CancelResult",
    "GuestError",
}


def test_every_document_of_the_contract_has_a_schema_that_is_json() -> None:
    schemas = contract_schemas()
    assert set(schemas) == DOCUMENTS
    for name, schema in schemas.items():
        assert schema["title"] == name
        assert json.loads(json.dumps(schema)) == schema


def test_every_field_has_a_description() -> None:
    for name, schema in contract_schemas().items():
        defined = schema.get("$defs", {})
        for part in [schema, *defined.values()]:
            for field, content in part.get("properties", {}).items():
                # pydantic leaves the description to the definition where both would say the same.
                definition = defined.get(content.get("$ref", "").rpartition("/")[2], {})
                assert content.get("description") or definition.get("description"), f"{name}: {field}"


def test_error_codes_are_those_of_the_design() -> None:
    code = contract_schemas()["HttpCallError"]["properties"]["code"]
    assert code["enum"] == ["denied", "unavailable", "limit", "cancelled", "invalid"]


@pytest.mark.parametrize(
    ("trigger", "actions"),
    [
        (Trigger.SUBMIT, {"SessionSpawned", "Completed"}),
        (Trigger.OBSERVE, {"Running", "Completed", "Failed"}),
    ],
)
def test_results_are_distinguished_by_their_action(trigger: Trigger, actions: set[str]) -> None:
    assert set(result_adapter(trigger).json_schema()["discriminator"]["mapping"]) == actions


def test_the_context_is_what_its_schema_requires() -> None:
    request = ExecutionRequest(
        Trigger.SUBMIT, RunKey("u", "u.g1.a1", 1, 1, "v1:d"), "ns", "j", ModuleBuild("m", "sha256:0")
    )
    context = json.loads(context_document(request, datetime(2025, 11, 22, 12, 0, 30, 999, UTC)))
    assert set(context) == set(contract_schemas()["RunContext"]["required"])
    assert context["deadline"] == "2025-11-22T12:00:30Z"
    assert context["session"] is None


def test_an_output_nested_deeper_than_a_status_can_keep_is_refused() -> None:
    def nested(levels: int) -> str:
        return '{"a":' * (levels - 1) + "{}" + "}" * (levels - 1)

    adapter = TypeAdapter(StorableObject)
    adapter.validate_json(nested(64))
    with pytest.raises(ValidationError, match="nested deeper than 64 levels"):
        adapter.validate_json(nested(65))
