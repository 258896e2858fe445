"""What a reconcile asks for: when to come again, and what is to be done then. `carry_out` does it.

A reconciler reads, decides and makes its write; it calls neither the queue nor the recorder of Events. So what it
wants is a value that a test compares, and there is one place that acts on it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from curation.api.job import CurationJob, JobStatus
from curation.cluster.answers import Document
from curation.lifecycle.event import Event
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key


class Effect(Protocol):
    """Something that follows from what was written. It does not wait, and does not raise."""

    def carry_out(self, context: Context) -> None:
        """Do it, once."""
        ...


@dataclass(frozen=True, slots=True)
class Say:
    """An Event about an object."""

    regarding: Document
    event: Event
    log_fields: Mapping[str, object]

    def carry_out(self, context: Context) -> None:
        """See `Context.record_event`."""
        context.record_event(self.regarding, self.event, self.log_fields)


@dataclass(frozen=True, slots=True)
class Moved:
    """A status of a job was written."""

    before: CurationJob
    after: JobStatus

    def carry_out(self, context: Context) -> None:
        """See `Context.phase_changed`."""
        context.phase_changed(self.before, self.after)


@dataclass(frozen=True, slots=True)
class Result:
    """What one reconcile, or a part of it, asks for. Parts are added up: of several times the earliest counts."""

    after: float | None = None
    """Seconds after which the key is worked on again; None: what it waits for wakes it."""
    retry: bool = False
    """Something did not succeed: the key is worked on again, ever later while that lasts."""
    gone: bool = False
    """The object is gone: nothing that was asked for earlier is wanted any more."""
    effects: tuple[Effect, ...] = ()

    def __add__(self, other: "Result") -> "Result":
        times = [each.after for each in (self, other) if each.after is not None]
        return Result(
            min(times, default=None),
            self.retry or other.retry,
            self.gone or other.gone,
            (*self.effects, *other.effects),
        )


NOTHING: Final = Result()
AT_ONCE: Final = Result(after=0.0)
RETRY: Final = Result(retry=True)


def carry_out(context: Context, key: Key, result: Result) -> None:
    """Do what the reconcile of this key asks for."""
    for effect in result.effects:
        effect.carry_out(context)
    if result.gone:
        context.queue.drop(key)
    if result.retry:
        context.queue.add_rate_limited(key)
    if result.after is not None:
        context.queue.add_after(key, result.after)
