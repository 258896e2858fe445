"""CurationApproval: one denied request, and what a person decided about it."""

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Final

import rfc8785
from pydantic import Field

from curation.api.cancel import Cancel
from curation.api.names import Trigger
from curation.api.schema import ChosenTime, Condition, MicroTime, Model, ResourceModel, cel, extension, spelled

MAX_COMMENT: Final = 1024
"""Characters of what a person says to a decision."""
MAX_EARLIER: Final = 8
MAX_ASKED: Final = 10
MAX_EXCERPT: Final = 256
"""Characters of a job's input that an approver is shown."""


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


class RecordedDecision(Model):
    """One decision that was made about a request: who, when, what."""

    decision: ApprovalDecision
    """Approved, Denied or Revoked."""
    by: Annotated[str, Field(max_length=512)] | None = None
    """Who decided, as admission stamped it."""
    at: MicroTime
    """When the operator received it."""
    scope: Scope | None = None
    """What an Approved one grants."""
    expires_at: MicroTime | None = None
    """When an Approved one ends; never if left out. Of a Denied one, when jobs may ask anew."""
    comment: Annotated[str, Field(max_length=MAX_COMMENT)] | None = None
    """What the person said to it."""


class Asked(Model):
    """A job that waits, or waited: who asked, with which input, and why its call was denied."""

    job: Annotated[str, Field(max_length=253)]
    """Name of the CurationJob."""
    created_by: Annotated[str, Field(max_length=512)] | None = None
    """Who created the job, as admission recorded it."""
    requested_by: Annotated[str, Field(max_length=512)] | None = None
    """Who created the job, last changed what it runs, or resumed it."""
    edited_by: Annotated[str, Field(max_length=512)] | None = None
    """Who last changed what it runs, where that is somebody else."""
    input_digest: Annotated[str, Field(max_length=80)] | None = None
    """sha256 of spec.input in RFC 8785 form."""
    input: Annotated[str, Field(max_length=MAX_EXCERPT)] | None = None
    """The beginning of spec.input, as compact JSON."""
    denied: Annotated[str, Field(max_length=1024)] | None = None
    """Why the call was denied."""


_EARLIER = Annotated[tuple[RecordedDecision, ...], Field(max_length=MAX_EARLIER)]


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
                "self.decision != 'Pending' || !has(self.comment)",
                "comment belongs to a decision: leave it out while decision is Pending",
                fieldPath=".comment",
            ),
            cel(
                "(has(self.comment) == has(oldSelf.comment)"
                " && (!has(self.comment) || self.comment == oldSelf.comment))"
                " || self.decision != oldSelf.decision",
                "comment can be set only together with a decision; leave it as it is",
                fieldPath=".comment",
            ),
            cel(
                "!has(self.neverExpires) || !self.neverExpires || !has(self.expiresAt)",
                "neverExpires and expiresAt exclude each other; leave one out",
                fieldPath=".neverExpires",
            ),
            cel(
                "!has(self.neverExpires) || !self.neverExpires || self.decision in ['Approved', 'Revoked']",
                "neverExpires belongs to the decision Approved; leave it out",
                fieldPath=".neverExpires",
            ),
            cel(
                "(has(self.neverExpires) && self.neverExpires) == (has(oldSelf.neverExpires) && oldSelf.neverExpires)"
                " || (oldSelf.decision == 'Pending' && self.decision != 'Pending')",
                "neverExpires can be set only together with the decision; revoke this and let the job ask anew",
                fieldPath=".neverExpires",
            ),
            cel(
                "has(self.earlier) == has(oldSelf.earlier) && (!has(self.earlier) || self.earlier == oldSelf.earlier)",
                "earlier is immutable: it is what was decided before this approval was made",
                fieldPath=".earlier",
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
    """When the grant ends, or the denial. If left out, a grant ends after the operator's --approval-ttl, and a denial
    stands until the approval is deleted. Set together with the decision."""
    never_expires: bool = False
    """Whether the grant has no end: a choice that is made together with the decision."""
    comment: Annotated[str, Field(max_length=MAX_COMMENT)] | None = None
    """What the person who decides says to it. Set together with the decision."""
    earlier: _EARLIER = ()
    """What was decided about the same request before this approval took the place of another one. Immutable."""


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
    asked: Annotated[tuple[Asked, ...], Field(max_length=MAX_ASKED)] = ()
    """Of at most 10 jobs that wait or waited: who asked, with which input, and why the call was denied."""
    decided_at: MicroTime | None = None
    """When the operator received the decision."""
    expires_at: MicroTime | None = None
    """When the grant ends; never if left out of an Approved one."""
    expires_after_seconds: Annotated[int, Field(ge=0)] | None = None
    """While Pending: how long a grant will hold whose decision says neither expiresAt nor neverExpires; without end if
    left out."""
    decisions: Annotated[tuple[RecordedDecision, ...], Field(max_length=MAX_EARLIER + 2)] = ()
    """What was decided about this request, the newest last: spec.earlier, and the decisions about this approval."""
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
    """Ready: whether the grant is in force. Expiring: True shortly before its end."""


class CurationApproval(ResourceModel):
    """A denied request that waits for a decision. Made by the operator; an approved, unexpired one is the grant."""

    derived_status: ClassVar = frozenset(
        {
            *("observedGeneration", "waiting", "jobs", "asked", "expiresAfterSeconds", "approvedBy"),
            *("forbidden", "cedar", "conditions"),
        }
    )

    spec: ApprovalSpec
    """The request and the decision."""
    status: ApprovalStatus = ApprovalStatus()
    """Who waits for it, and what it stands for."""


def grant_ends(approval: CurationApproval) -> datetime | None:
    """When a grant ends, or a denial, as far as the object says; None: never, or not yet known."""
    spec = approval.spec
    if spec.expires_at is not None or spec.never_expires or spec.decision is ApprovalDecision.DENIED:
        return spec.expires_at
    return approval.status.expires_at
