"""Documents that people write for our commands: the answers of a mock, the cases of a policy test; with their schemas.

Unlike the objects of a cluster they are of one release and one author: a field that is not known is a mistake.
"""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from curation.api.job import Name
from curation.api.names import Trigger
from curation.api.references import ObjectName

MAX_CASES = 10_000
MAX_ANSWERS = 1_000
MAX_INT64 = (1 << 63) - 1
"""The largest number that Cedar has."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, populate_by_name=True)


# RFC 9110 sections 5.6.2 (token) and 5.5 (field value).
HeaderName = Annotated[str, Field(max_length=256, pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
HeaderValue = Annotated[str, Field(max_length=8190, pattern=r"^[^\x00-\x08\x0a-\x1f\x7f]*$")]
Namespace = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]

# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
LabelName = Annotated[
    str,
    Field(max_length=317, pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"),
]
LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")]


class MockResponse(_Document):
    """What a service is taken to have answered. Of `body` and `json` at most one."""

    status: Annotated[int, Field(ge=200, le=599)] = 200
    """HTTP status code."""
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Headers."""
    body: str | None = None
    """Body as text."""
    document: Annotated[JsonValue, Field(alias="json")] = None
    """Body as JSON; sets the content type."""

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.body is not None and self.document is not None:
            raise ValueError("body and json exclude each other; leave one out")
        try:
            json.dumps(self.document, allow_nan=False)
        except ValueError:
            raise ValueError("json has a number that JSON has not, such as NaN; put such a text into body") from None
        return self


class MockAnswer(_Document):
    """Which calls it answers, and with what. Exactly one of `response` and `unavailable`."""

    method: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    """Method of the call, any if left out."""
    url: Annotated[str, Field(min_length=1, max_length=16384)]
    """URL of the call. Each * in its path or query stands for any characters, a * alone for any URL."""
    response: MockResponse | None = None
    """What the service answers."""
    unavailable: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """Why no answer comes."""
    delay_seconds: Annotated[float, Field(ge=0, le=3600, alias="delaySeconds")] = 0
    """How long it takes, in seconds."""
    times: Annotated[int, Field(ge=1)] | None = None
    """How often it answers; the calls after that go to the answers below it. Without it always."""

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if (self.response is None) == (self.unavailable is None):
            raise ValueError("exactly one of response and unavailable must be set")
        return self


class MockAnswers(_Document):
    """The file of `curation-operator try --mock`: of all answers that fit a call, the first one counts."""

    answers: Annotated[list[MockAnswer], Field(min_length=1, max_length=MAX_ANSWERS)]
    """The answers."""


class CallDefaults(_Document):
    """Who makes a call, and for what. What a case leaves out is taken from the file's defaults, then from here."""

    module: Name | None = None
    """Name of the CurationModule; needed by each case, here or there."""
    namespace: Namespace | None = None
    """Namespace of the job and its module; `default` if left out."""
    job: ObjectName | None = None
    """Name of the job; `test` if left out."""
    labels: dict[LabelName, LabelValue] | None = None
    """Labels of the job; none if left out."""
    trigger: Trigger | None = None
    """`Submit` if left out."""
    digest: Annotated[str, Field(max_length=80)] | None = None
    """sha256:... of the module's bytes; empty if left out."""
    generation: Annotated[int, Field(ge=1, le=MAX_INT64)] | None = None
    """Generation of the job's template; 1 if left out."""
    attempt: Annotated[int, Field(ge=1, le=MAX_INT64)] | None = None
    """Attempt under that generation; 1 if left out."""


class CaseRequest(CallDefaults):
    """The call that is asked about."""

    method: Annotated[str, Field(min_length=1, max_length=32)]
    """HTTP method."""
    url: Annotated[str, Field(min_length=1, max_length=16384)]
    """Absolute URL."""


Policies = Annotated[list[Annotated[str, Field(min_length=1, max_length=4096)]], Field(max_length=1000)]
PolicyName = Annotated[str, Field(min_length=1, max_length=512)]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


# Not a union: its mistakes would be listed for each member.
PolicyNames = Annotated[
    list[PolicyName],
    BeforeValidator(_listed, json_schema_input_type=PolicyName | list[PolicyName]),
    Field(max_length=100),
]


class Case(_Document):
    """One question to the gate, and the answer that is expected."""

    name: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """What it shows; the request if left out."""
    policies: Policies | None = None
    """Files that are in force, instead of the file's own list."""
    request: CaseRequest
    """The call."""
    expect: Literal["allow", "deny"]
    """What the gate is to decide."""
    by: PolicyNames | None = None
    """Policies that must be among those that decide: "@id", or the index of one that has no @id. An empty list: none
    decides, since nothing permits the call."""


class PolicyCases(_Document):
    """A file of cases for `kubectl curation test`."""

    json_schema: Annotated[str | None, Field(alias="$schema")] = None
    """For editors: where the JSON Schema of this file is."""
    policies: Policies | None = None
    """Files with the policies that are in force, as patterns from the folder of this file, such as ../policies/*.yaml.
    If left out: all policies in the folder that is tested."""
    defaults: CallDefaults = CallDefaults()
    """What the cases' requests have in common."""
    cases: Annotated[list[Case], Field(min_length=1, max_length=MAX_CASES)]
    """The cases."""


def file_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema (2020-12) of each document, by its name."""
    models: tuple[type[BaseModel], ...] = (MockAnswers, PolicyCases)
    return {
        model.__name__: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **model.model_json_schema(by_alias=True),
            "title": model.__name__,
        }
        for model in models
    }
