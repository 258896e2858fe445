"""What becomes of a write: for every reconciler, by the one table of what answers mean.

`settle` takes in an answer, looks at the object where that alone can tell, and reports who objects. `write_own_status`
is the whole of it for modules, policies and approvals, whose statuses follow from what is: without a fence of their
own, what did not land is computed anew.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from curation.api.clipping import clip
from curation.api.job import status_to_wire
from curation.api.schema import Condition, Model, ObjectMeta
from curation.cluster.answers import Conflict, Document, Refused
from curation.cluster.cache import Stored
from curation.cluster.meaning import Answer, Fate, meaning
from curation.lifecycle import conditions
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import NOTHING, RETRY, Result

log = logging.getLogger(__name__)

MAX_CONDITION_MESSAGE = 8192
"""Characters. What a module's compiler says of it may be much longer, and two conditions say it."""
STATUS = "its status"
FINALIZER = "its finalizers"
"""See `Refusals`."""

Shows = Callable[[Stored], bool]
"""Whether a version of the object shows the write."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a write."""

    landed: bool
    known: bool = True
    """What the caches hold is not older than the answer: it may be tried again at once, if nothing else forbids it."""
    wait: float | None = None
    """Seconds that the server asks to wait; None: none in particular."""
    objection: Refused | None = None
    """Who objects, if anybody does."""
    final: bool = False
    """The caller accepts the objection: the write is not tried again."""

    @property
    def at_once(self) -> bool:
        """Whether a write that has not landed may be computed anew and sent at once."""
        return self.known and self.wait is None and self.objection is None

    @property
    def result(self) -> Result:
        """Work on the key again if the write has not landed, when its answer lets us."""
        if self.landed or self.final:
            return NOTHING
        # What `settle` has read may wake the key at once; the backoff is for a read that failed too.
        return RETRY if self.wait is None else Result(after=self.wait)


async def settle(
    context: Context,
    key: Key,
    answer: Answer | None,
    what: str,
    shows: Shows,
    *,
    about: Document | None = None,
    log_fields: Mapping[str, object] | None = None,
    accepts: Callable[[Refused], bool] | None = None,
) -> Outcome:
    """What became of the write of this object; None: there was nothing to write.

    `what` of it was written is for `Refusals`; an objection is reported of the object that it is `about`, this one
    unless another is named, but for one that the caller `accepts`.
    """
    if answer is None:
        context.refusals.ended(key, what)
        return Outcome(True)
    meant, cache = meaning(answer), context.cache(key)
    if isinstance(answer, Conflict):
        context.metrics.write_conflicts.inc()
    if meant.lost:
        fields = log_fields or key.log_fields
        log.warning("the answer to a write of %s was lost: %s: %s", what, key, meant.lost, extra=fields)
    if meant.obj is not None:
        cache.put(meant.obj)
    final = meant.objection is not None and accepts is not None and accepts(meant.objection)
    if meant.objection is not None and not final:
        context.refused(key, what, meant.objection, log_fields, about)
    known = not meant.overtaken or await context.refresh(key)
    landed = meant.fate is Fate.LANDED
    if meant.fate is Fate.UNKNOWN:
        stored = cache.get(key.namespace, key.name)
        landed = stored is not None and shows(stored)
    if landed:
        context.refusals.ended(key, what)
    return Outcome(landed, known, meant.wait, meant.objection, final)


async def write_own_status(
    context: Context,
    key: Key,
    stored: Stored,
    old: Model,
    new: Model,
    left_out: Document | None = None,
    accepts: Callable[[Refused], bool] | None = None,
) -> Outcome | None:
    """Write a status computed from `stored`; None if it does not differ. What has not landed is to be computed anew.

    `left_out` is what of the old one could not be read: it is written over. A refusal that the caller `accepts` is
    final: the write is not tried again.
    """
    known, wanted = {**status_to_wire(old), **(left_out or {})}, status_to_wire(new)

    def shows(newest: Stored) -> bool:
        return newest.uid == stored.uid and newest.document().get("status") == wanted

    answer = await context.write_status(key, stored.resource_version, known, wanted)
    outcome = await settle(context, key, answer, STATUS, shows, accepts=accepts)
    return outcome if answer is not None else None


def result_of(outcome: Outcome | None) -> Result:
    """Of a write that may not have been needed."""
    return outcome.result if outcome is not None else NOTHING


async def write_finalizers(
    context: Context,
    key: Key,
    meta: ObjectMeta,
    finalizers: list[str],
    *,
    log_fields: Mapping[str, object] | None = None,
    accepts: Callable[[Refused], bool] | None = None,
) -> Outcome:
    """Write the finalizers of the object that was read as `meta`. For `accepts` see `write_own_status`."""

    def shows(newest: Stored) -> bool:
        return newest.uid == meta.uid and newest.document()["metadata"].get("finalizers", []) == finalizers

    answer = await context.write(key, int(meta.resource_version), {"metadata": {"finalizers": finalizers}})
    return await settle(context, key, answer, FINALIZER, shows, log_fields=log_fields, accepts=accepts)


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
