"""What all models share: camelCase on the wire, immutability, times, and the Kubernetes extensions of a schema."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, PlainSerializer
from pydantic.alias_generators import to_camel

JsonObject = dict[str, JsonValue]


def _seconds(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _micros(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


# metav1.Time and metav1.MicroTime: what kubectl and the API machinery print and compare.
Time = Annotated[AwareDatetime, PlainSerializer(_seconds, return_type=str, when_used="json-unless-none")]
MicroTime = Annotated[AwareDatetime, PlainSerializer(_micros, return_type=str, when_used="json-unless-none")]


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
    last_transition_time: Time
    """When the status of this condition last changed."""
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    """One CamelCase word: why the condition has its status."""
    message: Annotated[str, Field(max_length=32768)] = ""
    """One sentence for a person."""


class ResourceModel(Model):
    """An object with metadata."""

    metadata: ObjectMeta = ObjectMeta()
