"""The JSON documents that pass between the host and a module (docs/write-a-module.md), as models and as JSON Schemas.

A module is untrusted: what it sends is parsed strictly from text, with bounds that match what a status may hold, so
that an outcome which was accepted here can be written there. What the host sends is only ever built by us.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from curation.api.digest import MAX_DEPTH, depth
from curation.api.names import Trigger
from curation.api.schema import JsonObject, Time

__all__ = [
    "MAX_REQUEST_HEADERS",
    "CallErrorCode",
    "CancelResult",
    "CancelledResult",
    "CompletedResult",
    "FailedResult",
    "GuestError",
    "GuestSession",
    "HttpCallError",
    "HttpCallRequest",
    "HttpCallResponse",
    "JobInfo",
    "ObserveResult",
    "RunContext",
    "RunInfo",
    "RunningResult",
    "SessionSpawnedResult",
    "SubmitResult",
    "contract_schemas",
    "result_adapter",
]

CallErrorCode = Literal["denied", "unavailable", "limit", "cancelled", "invalid"]
"""Why an http-call got no response: the policy denied it, the service or network failed, a limit of the module was
hit, the run was superseded, or the request itself is malformed or goes to an address that no policy can allow."""

MAX_REQUEST_HEADERS = 64
"""Headers that a module may give with one request. With the host's own it stays below the 100 of common servers."""

_INT64 = 1 << 63


def _storable(value: JsonValue) -> JsonValue:
    """Refuses numbers that the API server would refuse or change: an outcome that holds one could never be written."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("NaN and infinite numbers are not JSON; send them as strings")
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise ValueError("integers of more than 64 bits cannot be kept; send them as strings")
    if isinstance(value, dict):
        for item in value.values():
            _storable(item)
    elif isinstance(value, list):
        for item in value:
            _storable(item)
    return value


def _storable_object(value: JsonObject) -> JsonObject:
    # The depth first: what follows is recursive.
    if depth(value) > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels; send deep data as a string")
    _storable(value)
    return value


StorableObject = Annotated[JsonObject, AfterValidator(_storable_object)]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


class RunInfo(_Document):
    """The run that the module is invoked for."""

    id: str
    """<uid of the job>.g<generation>.a<attempt>"""
    generation: int
    """metadata.generation under which the run was claimed."""
    attempt: int
    """1, 2, ... under that generation."""


class JobInfo(_Document):
    """The job that the run belongs to."""

    namespace: str
    """Namespace of the CurationJob."""
    name: str
    """Name of the CurationJob."""
    uid: str
    """metadata.uid of the CurationJob."""
    labels: dict[str, str]
    """metadata.labels of the CurationJob."""


class GuestSession(_Document):
    """A session at the session service."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    """The session's id at the session service."""
    url: Annotated[str, Field(max_length=2048)] | None = None
    """Where a person can look at the session."""


class RunContext(_Document):
    """The argument of `run`."""

    trigger: Trigger
    """Submit: start the work. Observe: say how the session is. Cancel: end the session, or all the run has created."""
    run: RunInfo
    """The run that the module is invoked for."""
    annotations: dict[str, str]
    """The run's annotations: curation.dev/run-id, generation, attempt and template-digest."""
    job: JobInfo
    """The job that the run belongs to."""
    input: JsonObject
    """The job's spec.input."""
    config: dict[str, str]
    """The module's spec.config with the job's spec.config laid over it."""
    session: GuestSession | None
    """The session to observe or cancel; null if it is not known."""
    deadline: Time
    """When the run's wall limit ends it."""


class HttpCallRequest(_Document):
    """The argument of `http-call`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    method: Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[A-Za-z][A-Za-z-]*$")]
    """HTTP method; upper-cased by the host."""
    url: Annotated[str, Field(min_length=1, max_length=16384)]
    """Absolute http or https URL, without userinfo and fragment."""
    headers: Annotated[dict[str, str], Field(max_length=MAX_REQUEST_HEADERS)] = Field(default_factory=dict)
    """Header names and values. The host strips hop-by-hop and identity headers and adds its own."""
    body: str | None = None
    """Request body, sent as UTF-8; null or left out for none."""


class HttpCallResponse(_Document):
    """The ok value of `http-call`: any status is a response."""

    status: int
    """HTTP status code. Redirects are not followed."""
    headers: dict[str, str]
    """Header names in lower case; repeated ones are joined by a comma."""
    body: str
    """Response body as text: by its byte order mark (skipped), else the charset of its content type, else as UTF-8.
    What cannot be decoded is replaced by U+FFFD. A gzip, deflate or br content coding has been undone."""


class HttpCallError(_Document):
    """The error value of `http-call`."""

    code: CallErrorCode
    """denied, unavailable, limit, cancelled or invalid."""
    message: str
    """One sentence for a person."""


class SessionSpawnedResult(_Document):
    """Submit: a session was started."""

    action: Literal["SessionSpawned"]
    """SessionSpawned"""
    session: GuestSession
    """The session that was started."""


class CompletedResult(_Document):
    """Submit: done without a session. Observe: the session has completed."""

    action: Literal["Completed"]
    """Completed"""
    output: StorableObject = Field(default_factory=dict)
    """What the work produced; nulls are removed."""


class RunningResult(_Document):
    """Observe: the session goes on."""

    action: Literal["Running"]
    """Running"""
    progress: StorableObject | None = None
    """Anything worth showing in the job's status."""


class FailedResult(_Document):
    """Observe: the session has failed."""

    action: Literal["Failed"]
    """Failed"""
    reason: str
    """One sentence for a person: why."""


class CancelledResult(_Document):
    """Cancel: nothing of the run is left running."""

    action: Literal["Cancelled"]
    """Cancelled"""


class GuestError(_Document):
    """The error value of `run`."""

    message: str
    """One sentence for a person."""
    claimed_class: Annotated[str | None, Field(alias="class")] = None
    """A failure class of the operator, if the module knows it: Denied, EgressRefused, ModuleError, Trap,
    LimitExceeded, Timeout, HTTPUnavailable, ModuleUnavailable or SessionFailed. Others do not count."""


SubmitResult = Annotated[SessionSpawnedResult | CompletedResult, Field(discriminator="action")]
ObserveResult = Annotated[RunningResult | CompletedResult | FailedResult, Field(discriminator="action")]
CancelResult = CancelledResult

_ADAPTERS: dict[Trigger, TypeAdapter[Any]] = {
    Trigger.SUBMIT: TypeAdapter(SubmitResult),
    Trigger.OBSERVE: TypeAdapter(ObserveResult),
    Trigger.CANCEL: TypeAdapter(CancelResult),
}


def result_adapter(trigger: Trigger) -> TypeAdapter[Any]:
    """What parses the ok value of `run` for a trigger, into one of the ...Result models."""
    return _ADAPTERS[trigger]


def contract_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema (2020-12) of each document of the module contract, by its name."""
    models: dict[str, TypeAdapter[Any]] = {
        "RunContext": TypeAdapter(RunContext),
        "HttpCallRequest": TypeAdapter(HttpCallRequest),
        "HttpCallResponse": TypeAdapter(HttpCallResponse),
        "HttpCallError": TypeAdapter(HttpCallError),
        "SubmitResult": _ADAPTERS[Trigger.SUBMIT],
        "ObserveResult": _ADAPTERS[Trigger.OBSERVE],
        "CancelResult": _ADAPTERS[Trigger.CANCEL],
        "GuestError": TypeAdapter(GuestError),
    }
    return {
        name: {"$schema": "https://json-schema.org/draft/2020-12/schema", **adapter.json_schema(), "title": name}
        for name, adapter in models.items()
    }
