"""Status writes of modules, policies and approvals: level-triggered, conditioned, without a fence of their own."""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime

from curation.api.clipping import clip
from curation.api.job import status_to_wire
from curation.api.schema import Condition, Model
from curation.cluster.answers import Conflict, Document, Gone, Refused, Throttled, Unknown, WriteAnswer, Written
from curation.cluster.cache import Stored
from curation.lifecycle import conditions
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key

log = logging.getLogger(__name__)

MAX_CONDITION_MESSAGE = 8192
"""Characters. What a module's compiler says of it may be much longer, and two conditions say it."""
STATUS = "its status"
FINALIZER = "its finalizers"
"""See `Refusals`."""


async def write_own_status(
    context: Context,
    key: Key,
    stored: Stored,
    old: Model,
    new: Model,
    left_out: Document | None = None,
    accepts: Callable[[Refused], bool] | None = None,
) -> bool:
    """Write a status computed from `stored` if it differs; what does not land is computed anew from the newest.

    `left_out` is what of the old one could not be read: it is written over. For `accepts` see `after_write`. Returns
    whether something was written.
    """
    known = {**status_to_wire(old), **(left_out or {})}
    answer = await context.write_status(key, stored.resource_version, known, status_to_wire(new))
    after_write(context, key, answer, STATUS, accepts)
    return isinstance(answer, Written)


def after_write(
    context: Context, key: Key, answer: WriteAnswer | None, what: str, accepts: Callable[[Refused], bool] | None = None
) -> None:
    """Ask for work on the key again, when and as the answer of its write demands.

    A refusal that the caller `accepts` is final: the write is not tried again.
    """
    if isinstance(answer, Refused) and accepts is not None and accepts(answer):
        return
    match answer:
        case None | Written():
            context.refusals.ended(key, what)
        case Conflict() | Gone():
            # What the write's own read has shown wakes the key at once; this is for a read that failed.
            context.queue.add_rate_limited(key)
        case Throttled(retry_after):
            context.queue.add_after(key, retry_after)
        case Unknown(message):
            log.warning("the answer to a write of %s was lost: %s", key, message, extra=key.log_fields)
            context.queue.add_rate_limited(key)
        case Refused() as refused:
            context.refused(key, what, refused)
            context.queue.add_rate_limited(key)


def ready_condition(
    before: tuple[Condition, ...], value: bool, reason: str, message: str, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The Ready condition, which keeps its time while its status stays, and the other conditions as they were."""
    status = "True" if value else "False"
    old = conditions.find(before, "Ready")
    since = old.last_transition_time if old is not None and old.status == status else now.replace(microsecond=0)
    new = Condition.model_construct(
        type="Ready",
        status=status,
        observed_generation=generation,
        last_transition_time=since,
        reason=reason,
        message=clip(message, MAX_CONDITION_MESSAGE),
    )
    return (*(condition for condition in before if condition.type != "Ready"), new)


_OF_MODULES = frozenset({"Stalled", "Pulled", "SignatureVerified"})
"""Conditions of a module beside Ready: each is there only while it says something."""


def module_conditions(
    before: tuple[Condition, ...],
    value: bool,
    stalled: bool,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
    more: Iterable[tuple[str, str, str, str]] = (),
) -> tuple[Condition, ...]:
    """Ready, and Stalled where only another spec can help: what knows no more of Kubernetes than kstatus shows it.

    Of `more` conditions: type, status, reason and message.
    """
    found = ready_condition(before, value, reason, message, generation, now)
    others = tuple(condition for condition in found if condition.type not in _OF_MODULES)
    for kind, status, why, text in more:
        old = conditions.find(before, kind)
        since = old.last_transition_time if old is not None and old.status == status else now.replace(microsecond=0)
        shown = Condition.model_construct(
            type=kind,
            status=status,
            observed_generation=generation,
            last_transition_time=since,
            reason=why,
            message=clip(text, MAX_CONDITION_MESSAGE),
        )
        others = (*others, shown)
    if not stalled:
        return others
    old = conditions.find(before, "Stalled")
    since = old.last_transition_time if old is not None else now.replace(microsecond=0)
    ready = conditions.find(found, "Ready")
    assert ready is not None
    return (*others, ready.model_copy(update={"type": "Stalled", "status": "True", "last_transition_time": since}))
