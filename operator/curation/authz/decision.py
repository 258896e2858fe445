"""Whose call it is, what was decided about it, and how sentences name it. By itself, so that it needs no Cedar."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from curation.api.approval import EvaluatedRequest
from curation.api.clipping import clip

if TYPE_CHECKING:
    from curation.authz.effective import EffectiveSet

MAX_URL_SHOWN: Final = 300
"""Characters of a URL in a sentence for people."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """Whose call it is. ``now`` (None: the gate's clock) decides which grants have expired."""

    job: str
    labels: Mapping[str, str] = field(default_factory=dict)
    generation: int = 1
    attempt: int = 1
    now: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer. ``reason`` is a sentence for people; ``policies`` names those that decided, by their origin.

    ``errors`` are failed evaluations, each of which denies.
    """

    allowed: bool
    reason: str
    policies: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    by: "EffectiveSet | None" = field(default=None, compare=False, repr=False)
    """The set that allowed it; None of a denial."""


def request_url(request: EvaluatedRequest) -> str:
    """The canonical URL of the tuple, as the policy sees it and as it is sent."""
    query = f"?{request.query}" if request.query else ""
    return f"{request.scheme}://{request.host}:{request.port}{request.path}{query}"


def call_shown(request: EvaluatedRequest) -> str:
    """The call as every reason of a `Decision` names it; only a URL that is too long is cut."""
    url = request_url(request)
    shown = clip(url, MAX_URL_SHOWN, "...")
    return f"{request.method} {shown} ({request.trigger.value} by module {request.module})"
