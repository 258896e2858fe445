"""From pydantic's JSON Schema to what a CRD takes: each form that the models use, and an error for every other."""

from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field, JsonValue

from curation.api.schema import Model, Time, cel, extension, spelled
from curation.api.structural import Schema, structural_schema


def _property(annotation: Any, default: Any = ..., *, defaults: bool = True) -> Schema:
    """The schema of one field of that type."""
    made = type("Made", (Model,), {"__annotations__": {"field": annotation}, "field": Field(default=default)})
    return dict(structural_schema(made, defaults=defaults)["properties"]["field"])


class Inner(Model):
    """An inner object."""

    count: Annotated[int, Field(ge=0)] = 3
    """How many."""


class Needy(Model):
    """An object with a required field."""

    name: str
    """What it is called."""


def test_a_field_without_a_default_is_required() -> None:
    assert structural_schema(Needy, defaults=True)["required"] == ["name"]


def test_none_makes_a_field_optional_and_leaves_neither_null_nor_union() -> None:
    assert _property(str | None, None) == {"type": "string"}


def test_the_bounds_of_an_optional_field_stay() -> None:
    assert _property(Annotated[str, Field(max_length=5)] | None, None) == {"type": "string", "maxLength": 5}


def test_a_reference_is_inlined_and_its_default_is_empty_where_its_fields_have_their_own() -> None:
    assert _property(Inner, Inner()) == {
        "type": "object",
        "description": "An inner object.",
        "default": {},
        "properties": {
            "count": {"type": "integer", "format": "int64", "minimum": 0, "default": 3, "description": "How many."}
        },
    }


def test_without_defaults_none_is_left_at_any_level() -> None:
    assert "default" not in str(_property(Inner, Inner(), defaults=False))


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"ge": 1, "le": 9}, {"minimum": 1, "maximum": 9, "format": "int32"}),
        ({"le": 2**31 - 1}, {"maximum": 2**31 - 1, "format": "int32"}),
        ({"le": 2**31}, {"maximum": 2**31, "format": "int64"}),
        ({}, {"format": "int64"}),
        ({"gt": 0}, {"minimum": 0, "exclusiveMinimum": True, "format": "int64"}),
        ({"lt": 7}, {"maximum": 7, "exclusiveMaximum": True, "format": "int32"}),
    ],
)
def test_bounds_of_an_integer(bounds: dict[str, Any], expected: Schema) -> None:
    assert _property(Annotated[int, Field(**bounds)]) == {"type": "integer", **expected}


def test_a_single_literal_is_an_enum_of_one() -> None:
    assert _property(Literal["a"]) == {"type": "string", "enum": ["a"]}


def test_a_tuple_of_many_is_an_array() -> None:
    assert _property(tuple[str, ...]) == {"type": "array", "items": {"type": "string"}}


def test_a_time_is_a_date_time() -> None:
    assert _property(Time) == {"type": "string", "format": "date-time"}


def test_a_map_of_strings_keeps_its_values_schema() -> None:
    assert _property(dict[str, str]) == {"type": "object", "additionalProperties": {"type": "string"}}


def test_an_object_that_keeps_unknown_fields_says_nothing_about_them() -> None:
    anything = Annotated[dict[str, JsonValue], Field(json_schema_extra=extension(preserve_unknown_fields=True))]
    assert _property(anything) == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def test_a_pattern_with_a_message_becomes_a_rule_before_the_others() -> None:
    extra = {**spelled("must be a letter"), **extension(cel("self != 'q'", "must not be q"))}
    assert _property(Annotated[str, Field(pattern="^[a-z]$", json_schema_extra=extra)]) == {
        "type": "string",
        "x-kubernetes-validations": [
            {"rule": "self.matches(r'^[a-z]$')", "message": "must be a letter"},
            {"rule": "self != 'q'", "message": "must not be q"},
        ],
    }


def test_a_pattern_without_a_message_stays() -> None:
    assert _property(Annotated[str, Field(pattern="^a$")]) == {"type": "string", "pattern": "^a$"}


def test_rules_of_a_model_and_of_its_field_are_joined() -> None:
    class Ruled(Model):
        """Has a rule."""

        model_config: ClassVar = {"json_schema_extra": extension(cel("true", "of the model"))}
        count: int = 0

    field = Annotated[Ruled, Field(json_schema_extra=extension(cel("true", "of the field")))]
    messages = [rule["message"] for rule in _property(field)["x-kubernetes-validations"]]
    assert messages == ["of the model", "of the field"]


@pytest.mark.parametrize(
    ("annotation", "default", "message"),
    [
        (int | str, ..., "a union of several types is not structural"),
        (tuple[int, str], ..., "a structural schema has no prefixItems"),
        (JsonValue, ..., "no type"),
        (dict[str, JsonValue], ..., "no type"),
        (Needy, Needy(name="x"), "an object with required fields cannot have a default"),
        (Annotated[str, Field(pattern="^'$", json_schema_extra=spelled("a quote"))], ..., "apostrophe"),
    ],
    ids=["a union", "a mixed tuple", "anything", "a map of anything", "a default of a needy object", "an apostrophe"],
)
def test_what_a_structural_schema_cannot_say_is_an_error_that_names_the_field(
    annotation: Any, default: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        _property(annotation, default)
    assert "Made.field" in str(caught.value) or "apostrophe" in message
