"""One run of a module without a cluster: the operator's own store, gate, client and executor, and what they did.

Nothing of the run is made here: what decides, sends, counts and ends it is what decides, sends, counts and ends it in
the operator. This only puts them together, as the operator's process does, and keeps what passes through.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from curation.api.approval import EvaluatedRequest
from curation.api.clipping import clip
from curation.authz.book import PolicyBook
from curation.authz.decision import CallContext, Decision, request_url
from curation.authz.gate import Gate
from curation.cli.kept_modules import kept_modules
from curation.egress.client import OutboundRequest, OutboundResponse
from curation.execution.calls import CallResult
from curation.execution.in_process import InProcessExecutor
from curation.execution.origin_credentials import OriginCredential
from curation.execution.seam import Authorizer, Ended, ExecutionRequest, Sender, Word
from curation.lifecycle.outcome import Report
from curation.wasm.guest_end import GuestEnd, Returned
from curation.wasm.limits import MAX_REQUEST_BYTES
from curation.wasm.store import ModuleStore

MAX_CALLS: Final = 1100
"""Calls that are kept: some more than a module may be allowed. A guest that does not stop asking is not recorded."""
MAX_SHOWN: Final = 16384
"""Characters of a method and of a URL that the gate was not asked about. Those that it was are no longer."""
GRACE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class TriedCall:
    """One call of the module."""

    number: int
    shown: str
    """Method and URL: canonical if the gate was asked, else as the module gave them."""
    request: EvaluatedRequest | None
    """What the gate was asked; None: it was not."""
    decision: Decision | None
    """What the gate said; None: it was not asked."""
    answer: CallResult | None
    """What the module got; None: the run was ended meanwhile."""
    seconds: float


@dataclass(slots=True)
class Used:
    """What the run used of its limits."""

    cpu_seconds: float = 0
    wall_seconds: float = 0
    http_calls: int = 0
    response_size: int = 0
    """Bytes of the largest answer."""
    output_size: int = 0
    """Bytes of the result."""
    start_memory: int = 0
    """Bytes of linear memory that the module begins with. How far it grew cannot be seen."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What happened."""

    request: ExecutionRequest
    size_bytes: int
    calls: tuple[TriedCall, ...]
    more_calls: int
    """Calls beyond those that are kept."""
    used: Used
    report: Report


@dataclass(slots=True)
class Recorder:
    """Sits between the executor and the gate, and between it and the sender; sees the guest's calls end."""

    gate: Authorizer
    sender: Sender
    calls: list[TriedCall] = field(default_factory=list)
    used: Used = field(default_factory=Used)
    _asked: tuple[EvaluatedRequest, Decision] | None = None

    def authorize(self, namespace: str, request: EvaluatedRequest, context: CallContext) -> Decision:
        """See `Authorizer`."""
        decision = self.gate.authorize(namespace, request, context)
        self._asked = (request, decision)
        return decision

    def is_still_valid(self, namespace: str, request: EvaluatedRequest, decision: Decision) -> bool:
        """See `Authorizer`."""
        return self.gate.is_still_valid(namespace, request, decision)

    async def send(
        self,
        request: OutboundRequest,
        *,
        timeout: float,  # noqa: ASYNC109 - the client's own signature
        max_response_bytes: int,
        on_departure: Callable[[], None] | None = None,
    ) -> OutboundResponse:
        """See `Sender`."""
        answer = await self.sender.send(
            request, timeout=timeout, max_response_bytes=max_response_bytes, on_departure=on_departure
        )
        self.used.response_size = max(self.used.response_size, len(answer.body))
        return answer

    def on_guest_call(self, request: str, answer: CallResult | None, seconds: float) -> None:
        """See `GuestProbe`."""
        asked, self._asked = self._asked, None
        self.used.http_calls += 1
        if len(self.calls) >= MAX_CALLS:
            return
        evaluated, decision = asked or (None, None)
        shown = _canonical(evaluated) if evaluated is not None else _as_given(request)
        self.calls.append(TriedCall(self.used.http_calls, shown, evaluated, decision, answer, seconds))

    def on_guest_end(self, end: GuestEnd, cpu_seconds: float, wall_seconds: float) -> None:
        """See `GuestProbe`."""
        self.used.cpu_seconds, self.used.wall_seconds = cpu_seconds, wall_seconds
        if isinstance(end, Returned):
            self.used.output_size = len(end.document.encode())


class _Given:
    """What a trial supplies: the file's bytes, and no credential."""

    def __init__(self, wasm: bytes) -> None:
        self._wasm = wasm

    async def wasm(self, _request: ExecutionRequest) -> bytes:
        """See `Supplies`."""
        return self._wasm

    async def credentials(self, _request: ExecutionRequest) -> tuple[OriginCredential, ...]:
        """See `Supplies`."""
        return ()


async def tried(wasm: bytes, request: ExecutionRequest, book: PolicyBook, sender: Sender) -> Trial:
    """Run the module once, to its end. Raises ModuleLoadError for one that does not fit, OSError without a compiler."""
    store = ModuleStore(kept_modules())
    recorder = Recorder(Gate(book, lambda: datetime.now(UTC)), sender)
    executor = InProcessExecutor(store, recorder, recorder, _Given(wasm), max_concurrent=1, probe=recorder)
    ended: asyncio.Future[Report] = asyncio.get_running_loop().create_future()

    def hear(_: str, word: Word) -> None:
        if isinstance(word, Ended):
            ended.set_result(word.report)

    try:
        module = await store.load_bytes(wasm, request.namespace)
        recorder.used.start_memory = module.start_bytes
        executor.start(request, hear)
        report = await ended
    finally:
        await executor.drain(GRACE_SECONDS)
        await store.close()
    calls = tuple(recorder.calls)
    return Trial(request, len(wasm), calls, recorder.used.http_calls - len(calls), recorder.used, report)


def _canonical(request: EvaluatedRequest) -> str:
    return f"{request.method} {request_url(request)}"


def _as_given(document: str) -> str:
    """Method and URL of a guest's own document, which the host has refused: it may be anything."""
    if len(document) > MAX_REQUEST_BYTES:
        return f"a request of {len(document)} characters"
    try:
        given = json.loads(document)
    except (ValueError, RecursionError):
        return "a request that is no JSON"
    if not isinstance(given, dict):
        return "a request that is no object"
    method, url = given.get("method"), given.get("url")
    if not (isinstance(method, str) and isinstance(url, str)):
        return "a request without method and URL"
    return f"{clip(method, MAX_SHOWN)} {clip(url, MAX_SHOWN)}"
