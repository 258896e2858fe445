"""What each answer to a write means: one table, for whoever writes (docs/fence.md, rule 4).

Only an answer that holds the object says that a write has landed. Where the answer leaves it open, the object itself
tells: it is read anew, and shows the write or does not. Nobody may read more into an answer than is here.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from curation.cluster.answers import (
    Conflict,
    Created,
    Creation,
    Document,
    Exists,
    Gone,
    Refused,
    Throttled,
    Unknown,
    WriteAnswer,
    Written,
)

Answer = WriteAnswer | Creation


class Fate(StrEnum):
    """What has become of a write."""

    LANDED = "Landed"
    NOT_LANDED = "NotLanded"
    UNKNOWN = "Unknown"
    """Only the object can tell."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What follows from one answer."""

    fate: Fate
    overtaken: bool = False
    """What was known of the object may no longer be so: it is to be read before anything is decided."""
    obj: Document | None = None
    """The object after the write."""
    wait: float | None = None
    """Seconds that the server asks to wait before the next try; None: it names no time, so with backoff."""
    objection: Refused | None = None
    """Who objects, to be reported: it may stop objecting."""
    lost: str = ""
    """Why there is no answer."""


TABLE: Final[dict[type[Answer], Meaning]] = {
    Written: Meaning(Fate.LANDED),
    Created: Meaning(Fate.LANDED),
    # It proves nothing: a label edit causes it, and so does a proxy that sends a write twice, as nginx does with a PUT
    # whose answer was lost.
    Conflict: Meaning(Fate.UNKNOWN, overtaken=True),
    # Somebody else's, or our own: an earlier try whose answer was lost.
    Exists: Meaning(Fate.UNKNOWN, overtaken=True),
    Unknown: Meaning(Fate.UNKNOWN, overtaken=True),
    Gone: Meaning(Fate.NOT_LANDED, overtaken=True),
    # Whoever objects may do so for what the object has become.
    Refused: Meaning(Fate.NOT_LANDED, overtaken=True),
    Throttled: Meaning(Fate.NOT_LANDED),
}
"""By the type of the answer; `meaning` adds what the answer itself holds."""


def meaning(answer: Answer) -> Meaning:
    """What an answer means."""
    known = TABLE[type(answer)]
    match answer:
        case Written(obj) | Created(obj):
            return Meaning(known.fate, known.overtaken, obj=obj)
        case Throttled(wait):
            return Meaning(known.fate, known.overtaken, wait=wait)
        case Refused() as refused:
            return Meaning(known.fate, known.overtaken, objection=refused)
        case Unknown(message):
            return Meaning(known.fate, known.overtaken, lost=message)
        case _:
            return known
