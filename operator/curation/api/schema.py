"""What all models share: camelCase on the wire, immutability, times, and the Kubernetes extensions of a schema."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

JsonObject = dict[str, JsonValue]


def _seconds(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _micros(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _representable(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is out of range in UTC") from None


def _of_this_age(value: datetime) -> datetime:
    # Of an object that is older than the pattern below, or that a person has written before it.
    if not 1899 <= value.year <= 3000:
        raise ValueError(f"the year {value.year} is no year of a run: sums of the time and of a limit go out of range")
    return value


# The server's format date-time admits much more: lower case, year 0, any separator before the fraction, offsets of 99
# hours, and text behind the time. A status names no time of another age: sums of it and of a limit stay in range.
_CLOCK: Final = r"T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])$"
_STATUS_TIME: Final = r"^(19|2[0-9])[0-9]{2}-[0-9]{2}-[0-9]{2}" + _CLOCK
_CHOSEN_TIME: Final = r"^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}" + _CLOCK
_TIME_LENGTH: Final = 40

# metav1.Time and metav1.MicroTime: what kubectl and the API machinery print and compare.
Time = Annotated[
    AwareDatetime,
    AfterValidator(_representable),
    PlainSerializer(_seconds, return_type=str, when_used="json-unless-none"),
]
MicroTime = Annotated[
    AwareDatetime,
    AfterValidator(_representable),
    AfterValidator(_of_this_age),
    PlainSerializer(_micros, return_type=str, when_used="json-unless-none"),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _STATUS_TIME, "maxLength": _TIME_LENGTH}),
]
ConditionTime = Annotated[
    Time,
    AfterValidator(_of_this_age),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": _STATUS_TIME, "maxLength": _TIME_LENGTH}),
]


def cel(rule: str, message: str, **more: Any) -> dict[str, Any]:
    """One CEL rule of a schema. The message names the remedy; the API server prefixes the field."""
    return {"rule": rule, "message": message, **more}


def extension(*rules: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """Kubernetes schema extensions for ``json_schema_extra``: CEL rules, and ``map_type="atomic"`` and the like."""
    out: dict[str, Any] = {f"x-kubernetes-{name.replace('_', '-')}": value for name, value in fields.items()}
    if rules:
        out["x-kubernetes-validations"] = list(rules)
    return out


PATTERN_MESSAGE: Final = "x-pattern-message"


def spelled(message: str) -> dict[str, Any]:
    """What the API server says, through a CEL rule, about a value that does not match the field's pattern.

    For ``json_schema_extra``. Without it the server's words would be the regular expression alone.
    """
    return {PATTERN_MESSAGE: message}


# A time that a person writes. Without format: date-time, whose CEL value is no string: what it cannot parse would make
# every rule that names the field fail, that of a revocation too.
ChosenTime = Annotated[
    Time,
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": _TIME_LENGTH,
            **extension(
                cel(
                    f"self.matches(r'{_CHOSEN_TIME}') && !format.datetime().validate(self).hasValue()"
                    " && !(self.startsWith('9999-12-31') && !self.endsWith('Z'))",
                    "must be a time such as 2030-01-31T12:00:00Z, with a capital T, and a capital Z or an offset"
                    " such as +01:00 at its end",
                )
            ),
        }
    ),
]


class Model(BaseModel):
    """The base of every API model: immutable, camelCase, and blind to fields that a newer release added."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    def to_wire(self) -> dict[str, Any]:
        """The JSON document as the API server keeps it: a field that is none is left out, never null."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ObjectMeta(Model):
    """The part of metadata that decisions are made from."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    finalizers_cut: Annotated[bool, Field(alias="curation.dev/excess-finalizers", exclude=True)] = False
    """There are more than are taken in: the list is known in part, and so not to be written."""
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None


class Condition(Model):
    """A metav1.Condition."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """The aspect that this condition is about."""
    status: Annotated[str, Field(json_schema_extra={"enum": ["True", "False", "Unknown"]})]
    """True, False or Unknown."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The metadata.generation that this condition was computed for."""
    last_transition_time: ConditionTime
    """When the status of this condition last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """One CamelCase word: why the condition has its status."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """One sentence for a person."""


class ResourceModel(Model):
    """An object with metadata."""

    derived_status: ClassVar[frozenset[str]] = frozenset()
    """Fields of the status that follow from all else: one that cannot be read is left out, and written anew."""

    metadata: ObjectMeta = ObjectMeta()
