"""Writes of ours that another refuses: a quota, an admission policy, a right that is missing, a store without room.

Each is reported once in the log and, every half an hour for as long as it lasts, by an Event of the object.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import Gauge

from curation.api.names import EventReason
from curation.cluster.answers import Refused
from curation.lifecycle.event import Event

log = logging.getLogger(__name__)

# An Event is gone after an hour.
REPORT_AGAIN_SECONDS: Final = 1800.0

RecordEvent = Callable[[dict[str, Any], Event, Mapping[str, object]], None]


@dataclass(slots=True)
class _RefusedWrite:
    said: str
    reported_at: float
    fields: Mapping[str, object]
    """Of log lines about it."""


def refusal_text(refused: Refused) -> str:
    """The server's own words."""
    return f"{refused.code} {refused.reason}: {refused.message}"


class Refusals:
    """Knows which writes are refused at present, by the object's key and by what of it would be written.

    `what` continues "refuses to write": `FINALIZER`, `STATUS` and their like, each a constant of whoever writes it.
    """

    def __init__(self, record: RecordEvent, gauge: Gauge, monotonic: Callable[[], float]) -> None:
        self._record = record
        self._gauge = gauge
        self._monotonic = monotonic
        self._known: dict[Any, dict[str, _RefusedWrite]] = {}

    def report(
        self,
        key: Any,
        regarding: dict[str, Any] | None,
        what: str,
        refused: Refused,
        log_fields: Mapping[str, object] | None = None,
    ) -> None:
        """A write of this object was refused; `what` would have been written."""
        fields = log_fields or key.log_fields
        now, said = self._monotonic(), refusal_text(refused)
        found = self._known.setdefault(key, {})
        known = found.get(what)
        text = f"The API server refuses to write {what}, which is tried again: {said}"
        if known is None:
            found[what] = known = _RefusedWrite(said, now, fields)
            self._gauge.labels(kind=key.kind.kind).inc()
            log.error("%s: %s", key, text, extra=fields)
        elif now < known.reported_at + REPORT_AGAIN_SECONDS:
            known.said = said
            return
        known.said, known.reported_at = said, now
        if regarding is not None:
            self._record(regarding, Event(EventReason.WRITE_REFUSED, text, warning=True), fields)

    def said(self, key: Any, what: str) -> str:
        """What the server said to the last try, while it refuses; else nothing."""
        known = self._known.get(key, {}).get(what)
        return known.said if known is not None else ""

    def ended(self, key: Any, what: str) -> None:
        """The write was taken, or is not wanted any more."""
        found = self._known.get(key)
        known = found.pop(what, None) if found is not None else None
        if known is not None:
            self._gauge.labels(kind=key.kind.kind).dec()
            log.info("%s: %s is written, or no longer to be", key, what, extra=known.fields)
            if not found:
                del self._known[key]

    def forget(self, key: Any) -> None:
        """The object is gone."""
        for _ in self._known.pop(key, {}):
            self._gauge.labels(kind=key.kind.kind).dec()
