"""CurationPolicy and ClusterCurationPolicy: Cedar text that decides outbound calls."""

from typing import Annotated, ClassVar

from pydantic import Field

from curation.api.names import MAX_CEDAR_BYTES
from curation.api.schema import Condition, Model, ResourceModel, extension


class PolicySpec(Model):
    """Cedar policies."""

    cedar: Annotated[str, Field(min_length=1, max_length=MAX_CEDAR_BYTES)]
    """Cedar policies as text, at most 64 KiB; validated strictly against the schema that the product ships."""


class PolicyInForce(Model):
    """The last valid revision, which stays in force while a later one is invalid. Only the operator may write it."""

    uid: Annotated[str, Field(max_length=64)]
    """metadata.uid of the object: what was recorded of another object of this name does not count."""
    generation: Annotated[int, Field(ge=1)]
    """metadata.generation of the revision."""
    judged_generation: Annotated[int, Field(ge=1)] | None = None
    """Every later revision up to this generation was reviewed, and was invalid; left out if none was."""
    digest: Annotated[str, Field(max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]
    """sha256:... of cedar."""
    cedar: Annotated[str, Field(max_length=MAX_CEDAR_BYTES)]
    """The text of the revision."""


class PolicyStatus(Model):
    """Whether the policies are in force."""

    observed_generation: int = -1
    """The last metadata.generation that the operator has acted on."""
    policies: Annotated[int, Field(ge=0)] | None = None
    """How many policies the text holds; left out while it is invalid."""
    in_force: PolicyInForce | None = None
    """The revision that counts; left out while none is known to have been valid, and then nothing of this counts."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(max_length=16, json_schema_extra=extension(list_type="map", list_map_keys=["type"])),
    ] = ()
    """Ready, with reasons Valid, ParseError, ValidationError, RevisionsMissed and Terminating: whether spec.cedar is in
    force."""


class CurationPolicy(ResourceModel):
    """Cedar policies for the runs of one namespace. Without a policy that permits a call, it is denied."""

    derived_status: ClassVar = frozenset({"observedGeneration", "policies", "inForce", "conditions"})

    spec: PolicySpec
    """The policies."""
    status: PolicyStatus = PolicyStatus()
    """Whether they are in force."""


class ClusterCurationPolicy(ResourceModel):
    """Cedar policies for the runs of every namespace, in one set with those of the namespace."""

    derived_status: ClassVar = frozenset({"observedGeneration", "policies", "inForce", "conditions"})

    spec: PolicySpec
    """The policies."""
    status: PolicyStatus = PolicyStatus()
    """Whether they are in force."""
