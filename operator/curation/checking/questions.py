"""What a checker is asked and answers, as frames."""

from dataclasses import dataclass
from typing import ClassVar, Final

from curation.api.names import MAX_CEDAR_BYTES
from curation.checking.verdict import MAX_REASON
from curation.isolation.frames import Frame, Wire

MAX_TEXT_BYTES: Final = 4 * MAX_CEDAR_BYTES
"""The CRD counts characters, of up to four bytes each."""
MAX_SET_BYTES: Final = 8 << 20
"""Of all policies and grants that count in a namespace, as JSON."""
MAX_QUESTIONS: Final = 64
"""Requests of one namespace that are asked about at a time."""
MAX_QUESTIONS_BYTES: Final = 3 << 20
"""A request has up to 8,192 characters of path and as many of query, a job up to 32 KiB of labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgePolicy(Frame):
    """Is this text, the payload, valid, and what in it is most likely not meant?"""

    NAME: ClassVar[str] = "judge-policy"
    MAX_PAYLOAD: ClassVar[int] = MAX_TEXT_BYTES

    number: int
    cluster: bool
    lint: bool
    cpu_seconds: int
    """Processor time for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyJudged(Frame):
    """The answer to the question of this number."""

    NAME: ClassVar[str] = "policy-judged"
    # Five errors and ten warnings of 300 characters, each of which may take six bytes of JSON.
    MAX_HEADER: ClassVar[int] = 65_536

    number: int
    valid: bool
    count: int
    reason: str
    message: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorize(Frame):
    """May these requests be made? The payload is all that counts (so many bytes), then the questions: see `verdict`."""

    NAME: ClassVar[str] = "authorize"
    MAX_PAYLOAD: ClassVar[int] = MAX_SET_BYTES + MAX_QUESTIONS_BYTES

    number: int
    namespace: str
    now: float
    """The server's Unix time."""
    set_bytes: int
    cpu_seconds: int
    enough_seconds: float
    """Of processor time, after which the rest is left for another time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorized(Frame):
    """The verdicts on the first of the questions, on one at least."""

    NAME: ClassVar[str] = "authorized"
    # A character may take six bytes of JSON.
    MAX_PAYLOAD: ClassVar[int] = MAX_QUESTIONS * (6 * MAX_REASON + 256)

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteGrant(Frame):
    """Which Cedar text is this grant, the payload?"""

    NAME: ClassVar[str] = "write-grant"
    MAX_PAYLOAD: ClassVar[int] = MAX_TEXT_BYTES

    number: int
    namespace: str
    cpu_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantWritten(Frame):
    """The payload is that text."""

    NAME: ClassVar[str] = "grant-written"
    MAX_PAYLOAD: ClassVar[int] = MAX_TEXT_BYTES

    number: int


TO_CHECKER: Final = Wire(JudgePolicy, Authorize, WriteGrant)
FROM_CHECKER: Final = Wire(PolicyJudged, Authorized, GrantWritten)
