"""CurationApproval: one denied request, and what a person decided about it."""

import hashlib
from enum import StrEnum
from typing import Annotated, ClassVar

import rfc8785
from pydantic import Field

from curation.api.cancel import Cancel
from curation.api.names import Trigger
from curation.api.schema import ChosenTime, Condition, Model, ResourceModel, cel, extension, spelled


class Scope(StrEnum):
    """How much an approval grants: the request itself, the same path with any query, or the whole origin."""

    REQUEST = "Request"
    PATH = "Path"
    HOST = "Host"


class ApprovalDecision(StrEnum):
    """Pending becomes Approved or Denied; Approved becomes Revoked; nothing else changes."""

    PENDING = "Pending"
    APPROVED = "Approved"
    DENIED = "Denied"
    REVOKED = "Revoked"


class EvaluatedRequest(Model):
    """The exact tuple that Cedar was asked about: what an approval records and what every re-evaluation asks again."""

    module: Annotated[str, Field(max_length=63)]
    """Name of the CurationModule."""
    module_digest: Annotated[str, Field(max_length=80)]
    """sha256 of the module's bytes: another build asks again."""
    trigger: Trigger
    """Submit, Observe or Cancel."""
    method: Annotated[str, Field(max_length=32)]
    """HTTP method, upper case."""
    scheme: Annotated[str, Field(max_length=8)]
    """http or https."""
    host: Annotated[str, Field(max_length=255)]
    """Canonical host: lower-case ASCII, no trailing dot."""
    port: Annotated[int, Field(ge=1, le=65535)]
    """TCP port."""
    path: Annotated[str, Field(max_length=8192)]
    """Canonical path, without the query."""
    query: Annotated[str, Field(max_length=8192)] = ""
    """Query, without the question mark."""


def request_digest(request: EvaluatedRequest) -> str:
    """Hexadecimal sha256 over the RFC 8785 form of the tuple."""
    return hashlib.sha256(rfc8785.dumps(request.to_wire())).hexdigest()


def approval_name(request: EvaluatedRequest) -> str:
    """Name of the one approval of this request: ``<module>-<20 hex of its digest>``."""
    return f"{request.module}-{request_digest(request)[:20]}"


class ApprovalSpec(Model):
    """The denied request and the decision about it."""

    model_config: ClassVar = {
        "json_schema_extra": extension(
            cel(
                "oldSelf.hasValue() || self.decision == 'Pending'",
                "a new approval must be Pending: create it without decision, then approve it",
                optionalOldSelf=True,
                fieldPath=".decision",
            ),
            cel(
                "self.decision != 'Pending' || !has(self.expiresAt)",
                "expiresAt belongs to a decision: leave it out while decision is Pending",
                fieldPath=".expiresAt",
            ),
            cel(
                "self.decision != 'Pending' || !has(self.decidedBy)",
                "decidedBy belongs to a decision: leave it out while decision is Pending",
                fieldPath=".decidedBy",
            ),
            cel(
                "self.decision == oldSelf.decision"
                " || (oldSelf.decision == 'Pending' && self.decision in ['Approved', 'Denied'])"
                " || (oldSelf.decision == 'Approved' && self.decision == 'Revoked')",
                "decision can change from Pending to Approved or Denied and from Approved to Revoked; "
                "delete the approval to let jobs ask anew",
                fieldPath=".decision",
            ),
            cel(
                "self.scope == oldSelf.scope || (oldSelf.decision == 'Pending' && self.decision != 'Pending')",
                "scope can be set only together with the decision; revoke this approval and let the job ask anew",
                fieldPath=".scope",
            ),
            cel(
                "(has(self.expiresAt) == has(oldSelf.expiresAt)"
                " && (!has(self.expiresAt) || self.expiresAt == oldSelf.expiresAt))"
                " || (oldSelf.decision == 'Pending' && self.decision != 'Pending')",
                "expiresAt can be set only together with the decision; revoke this approval and let the job ask anew",
                fieldPath=".expiresAt",
            ),
            cel(
                "(has(self.decidedBy) == has(oldSelf.decidedBy)"
                " && (!has(self.decidedBy) || self.decidedBy == oldSelf.decidedBy))"
                " || self.decision != oldSelf.decision",
                "decidedBy is set by admission when the decision changes; leave it as it is",
                fieldPath=".decidedBy",
            ),
            cel(
                "has(self.cancel) == has(oldSelf.cancel) && (!has(self.cancel) || self.cancel == oldSelf.cancel)",
                "cancel is immutable: it is what the module declared when the request was denied",
                fieldPath=".cancel",
            ),
        )
    }

    request: Annotated[
        EvaluatedRequest,
        Field(json_schema_extra=extension(cel("self == oldSelf", "request is immutable: it is what was denied"))),
    ]
    """The exact request that was denied. Immutable."""
    request_digest: Annotated[
        str,
        Field(
            max_length=64,
            pattern=r"^[0-9a-f]{64}$",
            json_schema_extra={
                **spelled("must be 64 hexadecimal digits in lower case"),
                **extension(cel("self == oldSelf", "requestDigest is immutable: it names what was denied")),
            },
        ),
    ]
    """sha256 of the request, computed by the operator. Immutable."""
    cancel: Cancel | None = None
    """What the module declared for Cancel, and the grant covers too; all of the origin if left out. Immutable."""
    scope: Scope = Scope.REQUEST
    """What is granted: Request (all of it), Path (any query), Host (anything on that scheme, host and port)."""
    decision: ApprovalDecision = ApprovalDecision.PENDING
    """Pending, Approved, Denied or Revoked."""
    decided_by: Annotated[str, Field(max_length=512)] | None = None
    """Who decided; stamped by admission."""
    expires_at: ChosenTime | None = None
    """When the grant ends; never if left out. Set together with the decision."""


class ApprovalStatus(Model):
    """Who waits for this approval, and what it stands for."""

    observed_generation: int = -1
    """The last metadata.generation that the operator has acted on."""
    waiting: Annotated[int, Field(ge=0)] = 0
    """How many jobs wait."""
    jobs: Annotated[tuple[Annotated[str, Field(max_length=253)], ...], Field(max_length=10)] = ()
    """Names of the first 10 jobs that wait."""
    requesters: Annotated[tuple[Annotated[str, Field(max_length=512)], ...], Field(max_length=32)] = ()
    """Who is recorded to have created, changed or resumed the jobs that wait or waited, at most 32."""
    approved_by: Annotated[str, Field(max_length=512)] | None = None
    """Who approved it; kept when it is revoked, which puts who revoked it into spec.decidedBy."""
    forbidden: Annotated[tuple[Annotated[str, Field(max_length=512)], ...], Field(max_length=10)] = ()
    """Jobs that this approval does not free since something else forbids the request, with the policy that does."""
    cedar: Annotated[str, Field(max_length=65536)] = ""
    """The Cedar policy that the grant stands for."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(max_length=16, json_schema_extra=extension(list_type="map", list_map_keys=["type"])),
    ] = ()
    """Ready: whether the grant is in force."""


class CurationApproval(ResourceModel):
    """A denied request that waits for a decision. Made by the operator; an approved, unexpired one is the grant."""

    derived_status: ClassVar = frozenset(
        {"observedGeneration", "waiting", "jobs", "approvedBy", "forbidden", "cedar", "conditions"}
    )

    spec: ApprovalSpec
    """The request and the decision."""
    status: ApprovalStatus = ApprovalStatus()
    """Who waits for it, and what it stands for."""
