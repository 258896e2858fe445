"""CurationPolicy and ClusterCurationPolicy: Cedar text that decides outbound calls."""

from typing import Annotated, ClassVar

from pydantic import Field

from curation.api.schema import Condition, Model, ResourceModel, extension

MAX_CEDAR_BYTES = 64 * 1024


class PolicySpec(Model):
    """Cedar policies."""

    cedar: Annotated[str, Field(min_length=1, max_length=MAX_CEDAR_BYTES)]
    """Cedar policies as text, at most 64 KiB; validated strictly against the schema that the product ships."""


class PolicyStatus(Model):
    """Whether the policies are in force."""

    observed_generation: int = -1
    """The last metadata.generation that the operator has acted on."""
    policies: Annotated[int, Field(ge=0)] | None = None
    """How many policies the text holds."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(max_length=16, json_schema_extra=extension(list_type="map", list_map_keys=["type"])),
    ] = ()
    """Ready, with reasons Valid, ParseError, ValidationError. While one is not Ready, calls here are denied."""


class CurationPolicy(ResourceModel):
    """Cedar policies for the runs of one namespace. Without a policy that permits a call, it is denied."""

    derived_status: ClassVar = frozenset({"observedGeneration", "policies", "conditions"})

    spec: PolicySpec
    """The policies."""
    status: PolicyStatus = PolicyStatus()
    """Whether they are in force."""


class ClusterCurationPolicy(ResourceModel):
    """Cedar policies for the runs of every namespace, in one set with those of the namespace."""

    derived_status: ClassVar = frozenset({"observedGeneration", "policies", "conditions"})

    spec: PolicySpec
    """The policies."""
    status: PolicyStatus = PolicyStatus()
    """Whether they are in force."""
