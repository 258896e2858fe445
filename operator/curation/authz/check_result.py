"""What a check of a policy text has found. By itself, so that whoever is told the result need not load Cedar."""

from dataclasses import dataclass
from typing import Literal

CheckReason = Literal["Valid", "ParseError", "ValidationError"]


@dataclass(frozen=True, slots=True)
class PolicyCheck:
    """What a policy's Ready condition says. ``message`` is one sentence; it names the policy by @id or index."""

    valid: bool
    count: int
    reason: CheckReason
    message: str
