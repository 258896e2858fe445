"""What the API server asks of a webhook, and what it is answered (admission.k8s.io/v1). Pure.

Only what is asked about is parsed: of an object of a megabyte the texts that a verdict needs. An object that is no
policy is never refused here: what is wrong with it is the operator's to say, in its status.
"""

import json
from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec

from curation.api.job import MAX_INPUT_BYTES
from curation.api.names import GROUP
from curation.checking.judgement import PolicyJudgement

POLICY_KINDS: Final = ("CurationPolicy", "ClusterCurationPolicy")
KINDS: Final = (*POLICY_KINDS, "CurationJob", "CurationModule")
MAX_NAME: Final = 253
MAX_CREDENTIALS: Final = 16
"""Secrets of one module that are asked about."""
MAX_WARNING_CHARS: Final = 250
PROBE: Final = "webhook-probe"
"""The name of the CurationApproval that the operator creates as a dry run, to see whether the webhook is asked."""
REACHED: Final = "the webhook of the Curation Operator was reached"
"""What is then warned of: the operator reads it, and knows that some replica was."""
OBSERVE_INTERVAL: Final = (
    "spec.observeIntervalSeconds is deprecated: write spec.observe instead, whose two fields bound an interval that "
    "grows while nothing changes"
)
HINT: Final = "check it with: kubectl curation check-policy FILE"


_Part = TypeVar("_Part")


class NotAReview(Exception):
    """A body that no API server has sent."""


class _Kind(msgspec.Struct):
    kind: str


class _Reference(msgspec.Struct):
    name: str = ""


class _Credential(msgspec.Struct):
    secretKeyRef: _Reference = msgspec.field(default_factory=_Reference)  # noqa: N815 (Kubernetes' names)


class _Artifact(msgspec.Struct):
    pullSecretRef: _Reference = msgspec.field(default_factory=_Reference)  # noqa: N815


class _Source(msgspec.Struct):
    oci: _Artifact = msgspec.field(default_factory=_Artifact)


class _Spec(msgspec.Struct):
    cedar: Any = ""
    moduleRef: Any = None  # noqa: N815
    input: msgspec.Raw = msgspec.Raw(b"")
    credentials: Any = None
    source: Any = None
    observeIntervalSeconds: Any = None  # noqa: N815


class _Object(msgspec.Struct):
    spec: _Spec = msgspec.field(default_factory=_Spec)


class _OldSpec(msgspec.Struct):
    cedar: Any = ""


class _Old(msgspec.Struct):
    spec: _OldSpec = msgspec.field(default_factory=_OldSpec)


class _Request(msgspec.Struct):
    uid: str
    kind: _Kind
    operation: str
    name: str = ""
    namespace: str = ""
    dryRun: bool = False  # noqa: N815
    object: _Object | None = None
    oldObject: _Old | None = None  # noqa: N815


class _Review(msgspec.Struct):
    apiVersion: str  # noqa: N815
    kind: str
    request: _Request


class Review:
    """One question of the API server's."""

    def __init__(self, request: _Request) -> None:
        self._request = request
        self._spec = request.object.spec if request.object is not None else _Spec()
        self.uid = request.uid
        self.kind = request.kind.kind
        self.name = request.name[:MAX_NAME]
        self.namespace = request.namespace

    @property
    def judged(self) -> bool:
        """Whether it is about a policy's text, and that is new."""
        request = self._request
        if self.kind not in POLICY_KINDS or request.operation not in ("CREATE", "UPDATE"):
            return False
        old = request.oldObject
        return request.operation == "CREATE" or old is None or old.spec.cedar != self._spec.cedar

    @property
    def probes(self) -> bool:
        """Whether the operator wants to know if the webhook is reached."""
        request = self._request
        asked = (self.kind, request.operation, request.name, request.dryRun)
        return asked == ("CurationApproval", "CREATE", PROBE, True)

    @property
    def cedar(self) -> str:
        """The policy's text; what is none is the API server's own schema to refuse."""
        return self._spec.cedar if isinstance(self._spec.cedar, str) else ""

    @property
    def input_bytes(self) -> int:
        """Bytes of a job's input, as it was sent."""
        return len(bytes(self._spec.input)) if self.kind == "CurationJob" else 0

    @property
    def deprecated(self) -> list[str]:
        """What is warned of fields that a later release no longer has."""
        if self.kind != "CurationJob" or self._spec.observeIntervalSeconds is None:
            return []
        return [OBSERVE_INTERVAL]

    @property
    def module(self) -> str:
        """The module that a job names; empty for none."""
        reference = self._spec.moduleRef
        name = reference.get("name") if isinstance(reference, dict) and self.kind == "CurationJob" else ""
        return name if isinstance(name, str) and len(name) <= MAX_NAME else ""

    @property
    def secrets(self) -> list[tuple[str, str]]:
        """The Secrets that a module names, each with the field that names it."""
        if self.kind != "CurationModule":
            return []
        pull = _converted(self._spec.source, _Source)
        named = [each.secretKeyRef.name for each in _converted(self._spec.credentials, list[_Credential]) or []]
        fields = [
            *([("spec.source.oci.pullSecretRef", pull.oci.pullSecretRef.name)] if pull is not None else []),
            *(("spec.credentials", name) for name in list(dict.fromkeys(named))[:MAX_CREDENTIALS]),
        ]
        return [(field, name) for field, name in fields if 0 < len(name) <= MAX_NAME]


def _converted(value: object, kind: type[_Part]) -> _Part | None:
    """What a part of an object says; None for nothing, and for what the API server's own schema refuses."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return None


def parsed(body: bytes) -> Review:
    """The question. Raises NotAReview."""
    try:
        review = _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotAReview(f"this is no AdmissionReview of admission.k8s.io/v1: {error}") from None
    if (review.apiVersion, review.kind) != ("admission.k8s.io/v1", "AdmissionReview"):
        raise NotAReview("this is no AdmissionReview of admission.k8s.io/v1")
    return Review(review.request)


_DECODER: Final = msgspec.json.Decoder(_Review)


def allowed(uid: str, warnings: list[str] | tuple[str, ...] = ()) -> bytes:
    """It may be stored; kubectl prints the warnings."""
    return _answer(uid, {"allowed": True, "warnings": [each[:MAX_WARNING_CHARS] for each in warnings]})


def judged(review: Review, judgement: PolicyJudgement) -> bytes:
    """What is said of a policy whose text was judged."""
    if judgement.check.valid:
        return allowed(review.uid, judgement.warnings)
    said = f"{judgement.check.message}. Nothing was changed; mend it, and {HINT}"
    return _refused(review, HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", said)


def unanswered(review: Review, why: str) -> bytes:
    """Nobody knows whether it may be stored: so it is not, and may be sent again."""
    said = f"it was not checked, {why}. Nothing was changed; apply it again"
    return _refused(review, HTTPStatus.SERVICE_UNAVAILABLE, "ServiceUnavailable", said)


def input_warning(size: int) -> str | None:
    """What is wrong with an input of so many bytes."""
    if size <= MAX_INPUT_BYTES:
        return None
    return (
        f"spec.input has {size} bytes, and at most {MAX_INPUT_BYTES} are accepted: the job will fail; put large data "
        "elsewhere and pass a reference to it"
    )


def _refused(review: Review, code: HTTPStatus, reason: str, said: str) -> bytes:
    # kubectl edit shows the causes alone, and so does kubectl apply of what is Invalid.
    cause = {"reason": "FieldValueInvalid", "field": "spec.cedar", "message": said}
    details = {"group": GROUP, "kind": review.kind, "name": review.name, "causes": [cause]}
    status = {"status": "Failure", "code": code, "reason": reason, "message": f"spec.cedar: {said}", "details": details}
    return _answer(review.uid, {"allowed": False, "status": status})


def _answer(uid: str, response: dict[str, Any]) -> bytes:
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": uid, **response}}
    return json.dumps(review).encode()
