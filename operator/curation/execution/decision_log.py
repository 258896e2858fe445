"""The egress decision log: one line for each call of a module, with who decided about it; and what modules log.

It answers what a module has called, and who allowed it. Denied calls are always in it, others if that is asked for.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from curation.execution.seam import CallEnd, ExecutionObserver, ExecutionRequest
from curation.lifecycle.outcome import Report, Trigger

log = logging.getLogger(__name__)

LINES: Final = 100
"""Of one namespace in a second; those over it are counted, and told of with the next line."""
_MAX_NAMESPACES: Final = 4096
_MAX_POLICIES: Final = 16


@dataclass(slots=True)
class _Second:
    number: int
    lines: int = 0
    left_out: int = 0


class DecisionLog:
    """An `ExecutionObserver` that logs calls, and the end of what modules log, and passes everything on."""

    def __init__(
        self, then: ExecutionObserver, *, allowed: bool, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """`allowed`: calls that were allowed, or about which the gate was not asked, are logged too."""
        self._then = then
        self._allowed = allowed
        self._monotonic = monotonic
        self._seconds: dict[str, _Second] = {}

    def on_start(self, request: ExecutionRequest) -> None:
        """See `ExecutionObserver`."""
        self._then.on_start(request)

    def on_call(self, request: ExecutionRequest, call: CallEnd) -> None:
        """See `ExecutionObserver`."""
        self._then.on_call(request, call)
        if call.decision != "denied" and not self._allowed:
            return
        if not self._has_room(request.namespace):
            return
        fields = {
            **request.log_fields,
            "module_name": request.module.name,  # "module" is the logging library's own
            "module_digest": request.module.digest,
            "call": call.number,
            "method": call.method,
            "url": call.url,
            "decision": call.decision,
            "decided_by": list(call.policies[:_MAX_POLICIES]),
            "result": call.code,
            "milliseconds": round(call.seconds * 1000, 1),
        }
        log.info("call %s %s of module %s: %s", call.method, call.url, request.module.name, call.decision, extra=fields)

    def on_end(self, request: ExecutionRequest, report: Report, seconds: float) -> None:
        """See `ExecutionObserver`."""
        self._then.on_end(request, report, seconds)
        # Observations are many, and say the same each time.
        wanted = report.log and (request.trigger is not Trigger.OBSERVE or self._allowed)
        if not wanted or not self._has_room(request.namespace):
            return
        fields = {**request.log_fields, "module_name": request.module.name, "module_digest": request.module.digest}
        log.info("module %s has logged: %s", request.module.name, report.log, extra=fields)

    def _has_room(self, namespace: str) -> bool:
        second = self._second(namespace)
        if second.lines >= LINES:
            second.left_out += 1
            return False
        second.lines += 1
        return True

    def _second(self, namespace: str) -> _Second:
        now = int(self._monotonic())
        known = self._seconds.get(namespace)
        if known is None or known.number != now:
            if known is not None and known.left_out:
                log.warning(
                    "%d calls of namespace %s, or logs of modules, are not here: there are %d lines a second at most",
                    known.left_out,
                    namespace,
                    LINES,
                )
            if len(self._seconds) >= _MAX_NAMESPACES:
                self._seconds.clear()
            known = self._seconds[namespace] = _Second(now)
        return known
