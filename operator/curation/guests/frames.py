"""What a worker and its guest host say to each other.

A guest host may be in the hands of whoever broke out of a guest: all that comes from it is bounded, typed, and read as
a stranger's. A run is known by a number that its worker gives it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from curation.guests.seam import GuestReport, Refusal, RefusedFor
from curation.isolation.frames import Frame, FrameRefused, Wire
from curation.wasm.guest_end import Exceeded, GuestEnd, Returned, StopCause, Stopped, Trapped
from curation.wasm.limits import MAX_REQUEST_BYTES, LimitHit, LimitName, Limits, LogTail

MAX_CONTEXT_BYTES: Final = 16 << 20
"""The request of an execution has 3 MiB at most, in which a byte may be written as six."""
MAX_ANSWER_BYTES: Final = 128 << 20
"""A response has 16 MiB at most; the same."""
MAX_RESULT_BYTES: Final = 2 << 20
"""A result has 32 KiB at most, and that of a session that has ended 1 MiB more."""
MAX_TEXT: Final = 2048
"""Characters of what is said of an end: more than a message has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutModule(Frame):
    """A compiled module; the descriptor is a file that nobody can change."""

    NAME = "module"
    MAX_DESCRIPTORS = 1
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleGone(Frame):
    """A compiled module that is not needed any more."""

    NAME = "moduleGone"
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Frame):
    """Run a guest; the payload is the document that it is invoked with."""

    NAME = "run"
    MAX_PAYLOAD = MAX_CONTEXT_BYTES
    run: int
    digest: str
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(Frame):
    """The answer to the call that the guest waits in: a response or an error."""

    NAME = "answer"
    MAX_PAYLOAD = MAX_ANSWER_BYTES
    run: int
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(Frame):
    """See `seam.Running.stop`; the payload is what its calls are answered. With `abort` it is interrupted at once."""

    NAME = "stop"
    MAX_PAYLOAD = 64 << 10
    run: int
    abort: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(Frame):
    """The first frame: guests can be run."""

    NAME = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Frame):
    """A guest calls, and waits; the payload is the document of its request. Its numbers rise."""

    NAME = "call"
    MAX_PAYLOAD = MAX_REQUEST_BYTES
    run: int
    number: int


class How(StrEnum):
    """How a run ended."""

    OK = "ok"
    ERROR = "error"
    TRAPPED = "trapped"
    EXCEEDED = "exceeded"
    STOPPED = "stopped"
    UNOPENED = "unopened"
    FAILED = "failed"
    """A bug of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Frame):
    """A run has ended; the payload is the document that the guest returned."""

    NAME = "ended"
    MAX_HEADER = 64 << 10
    MAX_PAYLOAD = MAX_RESULT_BYTES
    run: int
    how: How
    text: str = ""
    """What the trap says, how much was used of the limit, or what is wrong."""
    function: str | None = None
    limit: LimitName | None = None
    allowed: str = ""
    cause: StopCause | None = None
    log: str = ""
    refused: RefusedFor | None = None
    used: int = 0
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0


TO_GUEST_HOST: Final = Wire(PutModule, ModuleGone, Run, Answer, Stop)
FROM_GUEST_HOST: Final = Wire(Ready, Call, Ended)


def ended(run: int, report: GuestReport) -> Ended:
    """What is said of the end of a run."""
    how, payload, text, more = How.STOPPED, b"", "", dict[str, object]()
    match report.end:
        case Returned(ok, document):
            how, payload = How.OK if ok else How.ERROR, document.encode()
        case Trapped(message, function):
            how, text, more = How.TRAPPED, message, {"function": function[:MAX_TEXT] if function else None}
        case Exceeded(hit):
            how, text, more = How.EXCEEDED, hit.used, {"limit": hit.name, "allowed": hit.allowed}
        case Stopped(cause):
            more = {"cause": cause}
    if report.refused is not None:
        more |= {"refused": report.refused.reason, "used": report.refused.used}
    return Ended(
        run=run,
        how=how,
        text=text[:MAX_TEXT],
        log=report.log,
        cpu_seconds=report.cpu_seconds,
        wall_seconds=report.wall_seconds,
        payload=payload,
        **more,  # type: ignore[arg-type]
    )


def report_of(frame: Ended) -> GuestReport:
    """What a frame says of an end that is one. Raises FrameRefused."""
    refused = Refusal(frame.refused, frame.used) if frame.refused is not None else None
    return GuestReport(_end(frame), _cleaned(frame.log), refused, frame.cpu_seconds, frame.wall_seconds)


def _end(frame: Ended) -> GuestEnd:
    match frame.how:
        case How.OK | How.ERROR:
            try:
                return Returned(frame.how is How.OK, frame.payload.decode())
            except UnicodeDecodeError as error:
                raise FrameRefused(f"a result is no text: {error}") from error
        case How.TRAPPED:
            return Trapped(frame.text[:MAX_TEXT], frame.function[:MAX_TEXT] if frame.function else None)
        case How.EXCEEDED if frame.limit is not None:
            return Exceeded(LimitHit(frame.limit, frame.text[:MAX_TEXT], frame.allowed[:MAX_TEXT]))
        case How.STOPPED if frame.cause is not None:
            return Stopped(frame.cause)
    raise FrameRefused(f"an end that is none: {frame.how}")


def _cleaned(log: str) -> str:
    """A log that is within its bounds, whoever wrote it."""
    tail = LogTail()
    for line in log.split("\n") if log else ():
        level, _, text = line.partition(": ")
        tail.append(level, text)
    return tail.text()
