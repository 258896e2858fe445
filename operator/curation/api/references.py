"""ConfigMaps that a job takes its input and its configuration from, and what they held when that was frozen."""

from typing import Annotated, Any, Final

from pydantic import Field

from curation.api.schema import Model, extension, spelled

NAME_PATTERN: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
NAME_MESSAGE: Final = (
    "must be the name of an object: lower-case letters, digits, '-' and '.', a letter or digit at both ends"
)

ObjectName = Annotated[
    str, Field(min_length=1, max_length=253, pattern=NAME_PATTERN, json_schema_extra=spelled(NAME_MESSAGE))
]
DataKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^[-._a-zA-Z0-9]+$",
        json_schema_extra=spelled("must be a key of data or binaryData: letters, digits, '-', '_' and '.'"),
    ),
]


class ConfigMapKeyRef(Model):
    """A key of a ConfigMap in the namespace of the job."""

    name: ObjectName
    """Name of the ConfigMap."""
    key: DataKey
    """Key of its data."""


class ConfigMapRef(Model):
    """A ConfigMap in the namespace of the job."""

    name: ObjectName
    """Name of the ConfigMap."""


class InputFrom(Model):
    """Where the input of a job is read from."""

    config_map_key_ref: ConfigMapKeyRef
    """A key whose value is a JSON object, as spec.input would be."""


class ConfigFrom(Model):
    """Where configuration of a job is read from."""

    config_map_ref: ConfigMapRef
    """A ConfigMap whose data are given to the module, together with spec.config at most 4 KiB."""


class Frozen(Model):
    """What inputFrom and configFrom named at one time. It is part of the template from then on."""

    # Not JsonValue, as in spec.input: its validation is recursive.
    input: (
        Annotated[dict[str, Any], Field(json_schema_extra=extension(map_type="atomic", preserve_unknown_fields=True))]
        | None
    ) = None
    """The input that was read, without its nulls."""
    config: Annotated[dict[str, str], Field(json_schema_extra=extension(map_type="atomic"))] | None = None
    """The configuration that was read."""
