"""The answers to one guest's calls, on the event loop: what it asks for is parsed, gated, sent, and made a document."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from pydantic import ValidationError

from curation.api.contract import HttpCallRequest
from curation.execution.calls import CallResult, GatedCalls
from curation.execution.probe import GuestProbe
from curation.guests.seam import GuestReport, Refusal
from curation.wasm.limits import Limits

LONG_BYTES: Final = 32 << 10
"""A document of more is made, or read, outside of the event loop, since that may take a second."""

T = TypeVar("T")


class Aside:
    """Does what takes long in a thread of its own: one thing at a time.

    Trap: while threads hand the GIL to each other the event loop waits for all of them.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "wasm-aside")
        self._closed = False

    async def do(self, size: int, what: Callable[[], T]) -> T:
        """What it gives; in the thread if it deals with so many bytes."""
        if size <= LONG_BYTES or self._closed:
            return what()
        return await asyncio.get_running_loop().run_in_executor(self._thread, what)

    def close(self) -> None:
        """Wait for what is under way. A guest in a pod may still be answered after that, without the thread."""
        self._closed = True
        self._thread.shutdown()


class GuestCalls:
    """See `guests.seam.Answers`."""

    def __init__(self, calls: GatedCalls, limits: Limits, aside: Aside, probe: GuestProbe | None = None) -> None:
        self._calls = calls
        self._limits = limits
        self._aside = aside
        self._probe = probe
        self._last: CallResult | None = None

    async def call(self, number: int, request: bytes, seconds: float) -> tuple[bool, str]:
        """See `guests.seam.Answers`."""
        self._last = answer = None  # a call that is cut short is the last one too, and has no answer
        started = time.perf_counter()
        try:
            answer = await self._answer(number, request, seconds)
        finally:
            if self._probe is not None:
                self._probe.on_guest_call(request.decode(errors="replace"), answer, time.perf_counter() - started)
        document = await self._aside.do(answer.size, answer.document)
        self._last = answer
        return answer.code is None, document

    def refused(self, request: str, refusal: Refusal) -> None:
        """See `guests.seam.Answers`."""
        if self._probe is not None:
            self._probe.on_guest_call(request, self._result_of(refusal), 0.0)

    def resumed(self, calls: int) -> None:
        """See `guests.seam.Answers`."""
        self._calls.earlier = calls

    def unknown(self) -> tuple[bool, str]:
        """See `guests.seam.Answers`."""
        text = "whether the request was carried out is not known: the process that had sent it has ended"
        self._last = CallResult.error("unavailable", text)
        return False, self._last.document()

    def last(self, report: GuestReport) -> CallResult | None:
        """The answer to the last call of a guest that has ended so; None if there is none."""
        return self._result_of(report.refused) if report.refused is not None else self._last

    def _result_of(self, refusal: Refusal) -> CallResult:
        hit = refusal.hit(self._limits)
        return CallResult.error("limit", str(hit), hit=hit) if hit is not None else self._calls.cancelled()

    async def _answer(self, number: int, request: bytes, seconds: float) -> CallResult:
        try:
            parsed = await self._aside.do(len(request), lambda: HttpCallRequest.model_validate_json(request))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the document"
            return CallResult.error("invalid", f"the request document is malformed: {where}: {first['msg']}")
        return await self._calls.call(number, parsed, seconds)
