"""The host of one guest, in the guest's own thread: parses what the guest asks for and waits for the event loop."""

import asyncio
import time
from concurrent.futures import CancelledError

from pydantic import ValidationError

from curation.api.contract import HttpCallRequest
from curation.execution.calls import CallResult, GatedCalls
from curation.execution.probe import GuestProbe
from curation.wasm.host_functions import GuestStopped
from curation.wasm.limits import MAX_REQUEST_BYTES, LimitHit, LimitName, Limits, LogTail, size_text
from curation.wasm.watchdog import GuestWatch, StopCause

_SLACK_SECONDS = 5.0
"""How much longer than the guest waits the client may: so that a wall limit is a Timeout, not a failed request."""


class GuestHost:
    """Implements `wasm.host_functions.Host`. The loop reads `last` and `log_tail` only after the guest has ended."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        calls: GatedCalls,
        limits: Limits,
        watch: GuestWatch,
        probe: GuestProbe | None = None,
    ) -> None:
        self._loop = loop
        self._calls = calls
        self._limits = limits
        self._watch = watch
        self._probe = probe
        self._number = 0
        self.last: CallResult | None = None
        """The answer to the guest's last call; None if there is none."""
        self.log_tail = LogTail()

    def log(self, level: str, message: str) -> None:
        """Keeps the end of what the guest logs."""
        self._go_on()
        self.log_tail.append(level, message)

    def http_call(self, request: str) -> tuple[bool, str]:
        """One call of the guest."""
        self.last = None  # a call that ends by GuestStopped is the last one too, and has no answer
        self._go_on()
        self._number += 1
        started = time.perf_counter()
        try:
            self.last = self._refusal(request) or self._answer(request)
        finally:
            if self._probe is not None:
                self._probe.on_guest_call(request, self.last, time.perf_counter() - started)
        self._go_on()
        return self.last.code is None, self.last.document()

    def _go_on(self) -> None:
        """Ends a guest that was interrupted here already: it need not come back to its code to trap."""
        if self._watch.wall_left <= 0:
            self._watch.abort(StopCause.WALL)
        if self._watch.interruption is not None:
            raise GuestStopped(self._watch.interruption.cause)

    def _refusal(self, request: str) -> CallResult | None:
        allowed = self._limits.http_calls
        if self._number > allowed:
            return _limit(LimitHit(LimitName.HTTP_CALLS, str(self._number), str(allowed)))
        if (cancelled := self._calls.refusal()) is not None:
            return cancelled
        size = len(request.encode())
        if size > MAX_REQUEST_BYTES:
            return _limit(LimitHit(LimitName.REQUEST_SIZE, f"{size} bytes", size_text(MAX_REQUEST_BYTES)))
        return None

    def _answer(self, text: str) -> CallResult:
        try:
            request = HttpCallRequest.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the document"
            return CallResult.error("invalid", f"the request document is malformed: {where}: {first['msg']}")
        wall_left = self._watch.wall_left
        coroutine = self._calls.call(self._number, request, wall_left + _SLACK_SECONDS)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop is closed: the operator is gone
            coroutine.close()
            raise GuestStopped(StopCause.CLOSED) from None
        try:
            with self._watch.waiting():
                return future.result(wall_left)
        except TimeoutError:
            future.cancel()
            self._watch.abort(StopCause.WALL)
            raise GuestStopped(StopCause.WALL) from None
        except CancelledError:
            raise GuestStopped(StopCause.CLOSED) from None


def _limit(hit: LimitHit) -> CallResult:
    return CallResult.error("limit", str(hit), hit=hit)
