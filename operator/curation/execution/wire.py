"""What is said between a reconciler and an executor, as JSON: each request, word, result and report, typed, versioned.

Used where the executor is another process. A document that does not fit is refused whole, with the field that is wrong:
neither side guesses. The version is part of every document, since the two may be of different releases.
"""

from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from curation.api.approval import EvaluatedRequest
from curation.api.module import Credential
from curation.api.names import FailureClass, Trigger
from curation.api.schema import JsonObject, Model
from curation.execution import seam
from curation.lifecycle import outcome
from curation.wasm.limits import Limits

VERSION: Final = 1


class Unfit(ValueError):
    """A document that is none of these forms: says which field is wrong."""


class _Form(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Session(_Form):
    id: str
    url: str | None = None

    def made(self) -> outcome.SessionRef:
        return outcome.SessionRef(self.id, self.url)


class _Run(_Form):
    uid: str
    id: str
    generation: int
    attempt: int
    template_digest: str

    def made(self) -> outcome.RunKey:
        return outcome.RunKey(self.uid, self.id, self.generation, self.attempt, self.template_digest)


class _SessionSpawned(_Form):
    kind: Literal["SessionSpawned"] = "SessionSpawned"
    session: _Session

    def made(self) -> outcome.Result:
        return outcome.SessionSpawned(self.session.made())


class _Completed(_Form):
    kind: Literal["Completed"] = "Completed"
    output: JsonObject
    left_out: str = ""

    def made(self) -> outcome.Result:
        return outcome.Completed(self.output, self.left_out)


class _StillRunning(_Form):
    kind: Literal["StillRunning"] = "StillRunning"
    progress: JsonObject | None = None

    def made(self) -> outcome.Result:
        return outcome.StillRunning(self.progress)


class _SessionFailed(_Form):
    kind: Literal["SessionFailed"] = "SessionFailed"
    reason: str

    def made(self) -> outcome.Result:
        return outcome.SessionFailed(self.reason)


class _Cancelled(_Form):
    kind: Literal["Cancelled"] = "Cancelled"

    def made(self) -> outcome.Result:
        return outcome.Cancelled()


class _Failed(_Form):
    kind: Literal["Failed"] = "Failed"
    failure_class: Annotated[FailureClass, Field(strict=False)]
    message: str
    absent: bool = False
    over_limit: bool = False

    def made(self) -> outcome.Result:
        return outcome.Failed(self.failure_class, self.message, self.absent, self.over_limit)


class _Denied(_Form):
    kind: Literal["Denied"] = "Denied"
    request: EvaluatedRequest
    message: str

    def made(self) -> outcome.Result:
        return outcome.Denied(self.request, self.message)


_ResultForm = Annotated[
    _SessionSpawned | _Completed | _StillRunning | _SessionFailed | _Cancelled | _Failed | _Denied,
    Field(discriminator="kind"),
]


class _Calls(_Form):
    left: Annotated[int, Field(ge=0)] = 0
    answered: Annotated[int, Field(ge=0)] = 0
    allowed: Annotated[int, Field(ge=0)] = 0
    last_denied: EvaluatedRequest | None = None

    def made(self) -> outcome.Calls:
        return outcome.Calls(self.left, self.answered, self.allowed, self.last_denied)


class _Report(_Form):
    trigger: Annotated[Trigger, Field(strict=False)]
    run: _Run
    result: _ResultForm
    calls: _Calls = _Calls()
    log: str = ""
    dead: bool = False

    def made(self) -> outcome.Report:
        return outcome.Report(
            self.trigger, self.run.made(), self.result.made(), self.calls.made(), self.log, dead=self.dead
        )


class _Limits(_Form):
    memory: int
    cpu_seconds: float
    wall_seconds: float
    http_calls: int
    response_size: int
    output_size: int


class _Module(_Form):
    name: str
    digest: str
    limits: _Limits

    def made(self) -> seam.ModuleBuild:
        return seam.ModuleBuild(self.name, self.digest, Limits(**self.limits.model_dump()))


class _Request(_Form):
    version: Literal[1]
    kind: Literal["ExecutionRequest"] = "ExecutionRequest"
    trigger: Annotated[Trigger, Field(strict=False)]
    run: _Run
    namespace: str
    job: str
    module: _Module
    number: Annotated[int, Field(ge=1)]
    labels: dict[str, str] = {}
    input: JsonObject = {}
    config: dict[str, str] = {}
    session: _Session | None = None
    credentials: tuple[Credential, ...] = ()
    in_pod: bool = False
    resumed: bool = False

    def made(self) -> seam.ExecutionRequest:
        return seam.ExecutionRequest(
            trigger=self.trigger,
            run=self.run.made(),
            namespace=self.namespace,
            job=self.job,
            module=self.module.made(),
            number=self.number,
            labels=self.labels,
            input=self.input,
            config=self.config,
            session=self.session.made() if self.session is not None else None,
            credentials=self.credentials,
            in_pod=self.in_pod,
            resumed=self.resumed,
        )


class _Accepted(_Form):
    version: Literal[1]
    kind: Literal["Accepted"] = "Accepted"

    def made(self) -> seam.Word:
        return seam.Accepted()


class _Waiting(_Form):
    version: Literal[1]
    kind: Literal["Waiting"] = "Waiting"
    reason: str

    def made(self) -> seam.Word:
        return seam.Waiting(self.reason)


class _Refused(_Form):
    version: Literal[1]
    kind: Literal["Refused"] = "Refused"
    reason: str
    retryable: bool

    def made(self) -> seam.Word:
        return seam.Refused(self.reason, self.retryable)


class _Left(_Form):
    version: Literal[1]
    kind: Literal["Left"] = "Left"
    number: Annotated[int, Field(ge=1)]
    method: str = ""
    url: str = ""
    policies: tuple[str, ...] = ()

    def made(self) -> seam.Word:
        return seam.Left(self.number, self.method, self.url, self.policies)


class _Answered(_Form):
    version: Literal[1]
    kind: Literal["Answered"] = "Answered"
    number: Annotated[int, Field(ge=1)]

    def made(self) -> seam.Word:
        return seam.Answered(self.number)


class _Ended(_Form):
    version: Literal[1]
    kind: Literal["Ended"] = "Ended"
    report: _Report

    def made(self) -> seam.Word:
        return seam.Ended(self.report.made())


class _Lost(_Form):
    version: Literal[1]
    kind: Literal["Lost"] = "Lost"
    cause: str
    calls: _Calls | None = None
    over_limit: bool = False

    def made(self) -> seam.Word:
        return seam.Lost(self.cause, self.calls.made() if self.calls is not None else None, self.over_limit)


_WordForm = Annotated[_Accepted | _Waiting | _Refused | _Left | _Answered | _Ended | _Lost, Field(discriminator="kind")]
_WORD: Final[TypeAdapter[_WordForm]] = TypeAdapter(_WordForm)
_REQUEST: Final = TypeAdapter(_Request)
_TAGGED: Final = get_args(outcome.Result) + get_args(seam.Word) + (seam.ExecutionRequest,)

_SIMPLE: Final = frozenset({str, int, float, bool, dict, type(None)})

F = TypeVar("F")


def request_to_wire(request: seam.ExecutionRequest) -> bytes:
    """The request as JSON."""
    return to_json({"version": VERSION, **_plain(request)})


def request_of_wire(text: bytes) -> seam.ExecutionRequest:
    """The request that a document is. Raises Unfit."""
    return _read(_REQUEST, text).made()


def word_to_wire(word: seam.Word) -> bytes:
    """What is said of an execution, as JSON."""
    return to_json({"version": VERSION, **_plain(word)})


def word_of_wire(text: bytes) -> seam.Word:
    """What a document says of an execution. Raises Unfit."""
    return _read(_WORD, text).made()


@cache
def _shape(kind: type[Any]) -> tuple[dict[str, str], tuple[str, ...]] | None:
    """Of a dataclass what it begins with, and its fields; None of all else."""
    tag = {"kind": kind.__name__} if issubclass(kind, _TAGGED) else {}
    return (tag, tuple(each.name for each in fields(kind))) if is_dataclass(kind) else None


def _plain(value: Any) -> Any:
    """Dataclasses as their fields, those of a union with their kind; models as they are on every wire."""
    kind = value.__class__
    if kind in _SIMPLE:
        return value
    if isinstance(value, Model):
        return value.to_wire()
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    shape = _shape(kind)
    if shape is None:
        return value
    tag, names = shape
    return tag | {name: _plain(getattr(value, name)) for name in names}


def _read(adapter: TypeAdapter[F], text: bytes) -> F:
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise Unfit(f"{where}: {first['msg']}") from None
