"""The outbound calls of one execution, on the event loop: authorized, stamped, sent, counted, stopped by a kill.

One call at a time: a guest waits in its call. The order of the checks is the fence: whether the execution still lives
and what the gate says are asked again at the last moment before bytes leave, with no await in between.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pydantic import ValidationError

from curation.api.approval import EvaluatedRequest
from curation.api.contract import CallErrorCode, HttpCallError, HttpCallRequest, HttpCallResponse
from curation.api.identity_headers import folded
from curation.authz.decision import CallContext, Decision, request_url
from curation.egress.client import SAFE, OutboundRequest, OutboundResponse
from curation.egress.content import body_text
from curation.egress.errors import AnswerOverBounds, EgressRefused, ResponseTooLarge, Unavailable
from curation.egress.headers import module_headers
from curation.egress.url import CanonicalURL, canonical_method, evaluated_request, parse_url
from curation.execution.origin_credentials import OriginCredential, masked, of_origin
from curation.execution.seam import Answered, Authorizer, CallEnd, ExecutionRequest, Fence, Left, Sender
from curation.lifecycle.outcome import Calls, Trigger
from curation.wasm.limits import LimitHit, LimitName, size_text

logger = logging.getLogger(__name__)

IDEMPOTENCY_KEY = "Idempotency-Key"
_OWN_PREFIX = "curation-"

OnCall = Callable[[CallEnd], None]


@dataclass(frozen=True, slots=True)
class CallResult:
    """What a call answers to the module, and what the result of the run depends on."""

    code: CallErrorCode | None
    """None: a response."""
    document: Callable[[], str]
    """Makes what the module gets. Trap: a large body takes a second, which the loop has not."""
    message: str = ""
    egress_refused: bool = False
    hit: LimitHit | None = None
    status: int | None = None
    """HTTP status of a response."""
    size: int = 0
    """Bytes of its body."""

    @classmethod
    def error(
        cls, code: CallErrorCode, message: str, *, egress_refused: bool = False, hit: LimitHit | None = None
    ) -> "CallResult":
        """An error answer."""
        document = HttpCallError(code=code, message=message).model_dump_json()
        return cls(code, lambda: document, message, egress_refused, hit)


@dataclass(frozen=True, slots=True)
class DeniedCall:
    """A call that the gate denied."""

    request: EvaluatedRequest
    reason: str


class _Behind(Exception):
    """Ends a call before it leaves: it is to be judged anew."""


class _Open:
    """The fence of an executor that hears what is decided in the very call that decides it."""

    alive = True
    behind = False

    async def caught_up(self) -> None:
        pass


class _CallRefused(Exception):
    """Ends a call before it leaves; carries its answer."""

    def __init__(self, answer: CallResult) -> None:
        super().__init__(answer.message)
        self.answer = answer


def _document(response: OutboundResponse, secret: tuple[str, ...]) -> str:
    in_names = tuple(value.lower() for value in secret)  # as the names are by now
    return HttpCallResponse(
        status=response.status,
        headers={masked(name, in_names): masked(value, secret) for name, value in response.headers.items()},
        body=masked(body_text(response.body, response.headers.get("content-type", "")), secret),
    ).model_dump_json()


def _shown(evaluated: EvaluatedRequest) -> str:
    """Its URL without its query, which may hold what is secret."""
    return request_url(evaluated.model_copy(update={"query": ""}))


class GatedCalls:
    """All calls of one execution."""

    def __init__(
        self,
        request: ExecutionRequest,
        credentials: tuple[OriginCredential, ...],
        gate: Authorizer,
        sender: Sender,
        on_call: OnCall,
        say: Callable[[Left | Answered], None],
        fence: Fence | None = None,
    ) -> None:
        """`say` hears of each call that leaves, before it does, and of its answer."""
        self._fence = fence or _Open()
        self._execution = request
        self._credentials = credentials
        self._gate = gate
        self._sender = sender
        self._on_call = on_call
        self._say = say
        self._stopped: str | None = None
        self._task: asyncio.Task[CallResult] | None = None
        self._departed = False
        self._decision: Decision | None = None
        self._evaluated_last: EvaluatedRequest | None = None
        self.earlier = 0
        """Calls that another process may have sent for this execution: of their answers nothing is known."""
        self.left = 0
        self.answered = 0
        self.allowed = 0
        self.last_denied: DeniedCall | None = None

    @property
    def counts(self) -> Calls:
        """The calls so far, as the report has them."""
        denied = self.last_denied.request if self.last_denied else None
        return Calls(
            left=self.earlier + self.left,
            answered=self.answered,
            allowed=self.earlier + self.allowed,
            last_denied=denied,
        )

    def stop(self, reason: str, *, cut: bool = False) -> None:
        """No further call leaves. One that has not left yet ends; one on the wire goes on, unless it is to be cut."""
        self._stopped = self._stopped or reason
        if self._task is not None and (cut or not self._departed):
            self._task.cancel()

    def cancelled(self) -> CallResult:
        """The answer of an execution that was stopped."""
        return CallResult.error("cancelled", f"this run has been superseded: {self._stopped}")

    async def call(self, number: int, request: HttpCallRequest, seconds: float) -> CallResult:
        """Makes the guest's call with this number, for at most `seconds`. Never raises for what a guest can cause."""
        started = time.perf_counter()
        self._task = asyncio.current_task()
        self._departed, self._decision, self._evaluated_last = False, None, None
        code = "timeout"
        try:
            answer = await self._answer(number, request, seconds)
            code = str(answer.code or answer.status)
            return answer
        finally:
            self._task = None
            self._on_call(self._call_end(number, code, time.perf_counter() - started))

    def _call_end(self, number: int, code: str, seconds: float) -> CallEnd:
        evaluated, decision = self._evaluated_last, self._decision
        decided: Literal["allowed", "denied", "none"] = "none"
        if decision is not None:
            decided = "allowed" if decision.allowed else "denied"
        return CallEnd(
            number,
            decided,
            code,
            seconds,
            method=evaluated.method if evaluated is not None else "",
            url=_shown(evaluated) if evaluated is not None else "",
            policies=decision.policies if decision is not None else (),
        )

    async def _answer(self, number: int, request: HttpCallRequest, seconds: float) -> CallResult:
        try:
            return await self._attempt(number, request, seconds)
        except _CallRefused as refused:
            return refused.answer
        except asyncio.CancelledError:
            if self._stopped is None:
                raise  # the guest gave up at its wall limit
            return self.cancelled()
        except MemoryError:
            raise  # it is no answer of the service
        except Exception as error:
            return self._acknowledged(number, request, error) or self._failed(number, error)

    async def _attempt(self, number: int, request: HttpCallRequest, seconds: float) -> CallResult:
        self._refuse_if_stopped()
        url, evaluated = self._evaluated(request)
        self._evaluated_last = evaluated
        last, first = time.monotonic() + seconds, True
        while True:
            await self._fence.caught_up()
            decision = self._allowed(evaluated)
            self.allowed += first
            first = False
            credentials = of_origin(self._credentials, url)
            try:
                response = await self._sender.send(
                    self._outbound(number, request, url, evaluated, credentials),
                    timeout=last - time.monotonic(),
                    max_response_bytes=self._execution.module.limits.response_size,
                    on_departure=partial(self._depart, number, evaluated, decision),
                )
            except _Behind:
                continue  # nothing has left
            self._note_answer(number)
            secret = tuple(credentials.values())
            size = len(response.body)
            return CallResult(None, partial(_document, response, secret), status=response.status, size=size)

    def _outbound(
        self,
        number: int,
        request: HttpCallRequest,
        url: CanonicalURL,
        evaluated: EvaluatedRequest,
        credentials: dict[str, str],
    ) -> OutboundRequest:
        return OutboundRequest(
            method=evaluated.method,
            url=url,
            headers=self._headers(number, request, credentials),
            body=None if request.body is None else request.body.encode(),
            namespace=self._execution.namespace,
            module=f"{self._execution.module.name}@{self._execution.module.digest}",
            patient=self._execution.trigger is Trigger.OBSERVE,
        )

    def _depart(self, number: int, evaluated: EvaluatedRequest, decision: Decision) -> None:
        """The last moment: the connection is open, and nothing has left on it."""
        self._refuse_if_stopped()
        if not self._gate.is_still_valid(self._execution.namespace, evaluated, decision):
            self._allowed(evaluated)
        self._last_word()
        self._say(Left(number, evaluated.method, _shown(evaluated), decision.policies))
        # Trap: where that is said to another process it may have taken a while. What is refused now has not left, and
        # counts as not left in the report; only if this process dies first does it count as left.
        self._last_word()
        self._departed = True
        self.left += 1

    def _last_word(self) -> None:
        """Of what this process may not have heard yet. Raises _CallRefused and _Behind."""
        if not self._fence.alive:
            self._stopped = self._stopped or "its run has stopped being current"
            raise _CallRefused(self.cancelled())
        if self._fence.behind:
            raise _Behind

    def _note_answer(self, number: int) -> None:
        self.answered += 1
        self._say(Answered(number))

    def _refuse_if_stopped(self) -> None:
        if self._stopped is not None:
            raise _CallRefused(self.cancelled())

    def _allowed(self, evaluated: EvaluatedRequest) -> Decision:
        """The gate's leave. Raises _CallRefused without it."""
        execution = self._execution
        context = CallContext(
            job=execution.job,
            labels=execution.labels,
            generation=execution.run.generation,
            attempt=execution.run.attempt,
        )
        decision = self._gate.authorize(execution.namespace, evaluated, context)
        self._decision = decision
        if not decision.allowed:
            self.last_denied = DeniedCall(evaluated, decision.reason)
            raise _CallRefused(CallResult.error("denied", decision.reason))
        return decision

    def _evaluated(self, request: HttpCallRequest) -> tuple[CanonicalURL, EvaluatedRequest]:
        module = self._execution.module
        url = parse_url(request.url)
        try:
            evaluated = evaluated_request(
                url, request.method, module=module.name, digest=module.digest, trigger=self._execution.trigger
            )
        except ValidationError as error:
            # What cannot be recorded exactly cannot be approved, so it may not leave either.
            field = error.errors()[0]
            raise EgressRefused(f"the request's {'.'.join(map(str, field['loc']))}: {field['msg']}") from None
        return url, evaluated

    def _headers(self, number: int, request: HttpCallRequest, credentials: dict[str, str]) -> dict[str, str]:
        execution = self._execution
        run = execution.run
        own = {name: value for name, value in request.headers.items() if not name.lower().startswith(_OWN_PREFIX)}
        headers = module_headers(own)
        headers["Curation-Run-Id"] = run.id
        headers["Curation-Generation"] = str(run.generation)
        headers["Curation-Attempt"] = str(run.attempt)
        headers["Curation-Trigger"] = execution.trigger.value
        if execution.trigger is not Trigger.SUBMIT:
            _remove(headers, IDEMPOTENCY_KEY)  # a replayed answer would lie about the session
        else:
            # Behind the run's id a module's own key too: services keep one table of keys for all their callers, and one
            # that another run has used would give that run's answer.
            given = [value for name, value in headers.items() if folded(name) == folded(IDEMPOTENCY_KEY)]
            _remove(headers, IDEMPOTENCY_KEY)
            headers[IDEMPOTENCY_KEY] = f"{run.id}/{given[0] if given else number}"
        for header, value in credentials.items():
            _remove(headers, header)
            headers[header] = value
        return headers

    def _acknowledged(self, number: int, request: HttpCallRequest, error: Exception) -> CallResult | None:
        """What a Cancel gets of an answer over a bound to what it asked to be changed: the status, which says all.

        Else a session that has ended would count as one that cannot be cancelled. A list of what is to be ended is
        another matter: of that nothing may be left out.
        """
        if self._execution.trigger is not Trigger.CANCEL or not isinstance(error, ResponseTooLarge | AnswerOverBounds):
            return None
        if error.status is None or canonical_method(request.method) in SAFE:
            return None
        self._note_answer(number)
        logger.info("of an answer to a Cancel only the status counts: %s", error, extra=self._execution.log_fields)
        document = HttpCallResponse(status=error.status, headers={}, body="").model_dump_json()
        return CallResult(None, lambda: document, status=error.status)

    def _failed(self, number: int, error: Exception) -> CallResult:
        # What an error says may stem from the service: from its answer, its certificate, its name.
        said = masked(str(error), [each.value for each in self._credentials])
        match error:
            case EgressRefused():
                return CallResult.error("invalid", said, egress_refused=True)
            case ResponseTooLarge():
                self._note_answer(number)
                allowed = size_text(error.allowed)
                hit = LimitHit(LimitName.RESPONSE_SIZE, f"{error.used} bytes or more", allowed)
                return CallResult.error("limit", str(hit), hit=hit)
            case AnswerOverBounds():
                # Without a status no answer was seen, but a handshake, or only informational ones.
                if error.status is not None:
                    self._note_answer(number)
                return CallResult.error("limit", said)
            case Unavailable():
                return CallResult.error("unavailable", said)
            case _:
                extra = self._execution.log_fields
                logger.error("an outbound call failed inside the operator", exc_info=error, extra=extra)
                return CallResult.error(
                    "unavailable", f"the operator could not send the request: {type(error).__name__}"
                )


def _remove(headers: dict[str, str], name: str) -> None:
    for each in [each for each in headers if folded(each) == folded(name)]:
        del headers[each]
