"""What a checker is asked and answers, as frames."""

from dataclasses import dataclass
from typing import ClassVar, Final

from curation.api.names import MAX_CEDAR_BYTES
from curation.isolation.frames import Frame, Wire

MAX_TEXT_BYTES: Final = 4 * MAX_CEDAR_BYTES
"""The CRD counts characters, of up to four bytes each."""


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


TO_CHECKER: Final = Wire(JudgePolicy)
FROM_CHECKER: Final = Wire(PolicyJudged)
