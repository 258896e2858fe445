"""What an Event says to users."""

from dataclasses import dataclass

from curation.api.names import EventReason


@dataclass(frozen=True, slots=True)
class Event:
    """An Event about a job."""

    reason: EventReason
    message: str
    warning: bool = False
