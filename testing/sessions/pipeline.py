"""What every call of the API passes through: the log, the credential, the faults, the idempotency key.

It is a middleware, so that the handlers know nothing of it. A call whose client has gone away is carried out all the
same, as by a real service: a late create must meet the tombstone and not just vanish.
"""

import hashlib
import json

from aiohttp import web
from aiohttp.typedefs import Handler

from testing.sessions.caller import RunCaller
from testing.sessions.errors import Refusal
from testing.sessions.faults import Dropped, Faults, Rule
from testing.sessions.idempotency import KeptAnswer, Keys
from testing.sessions.journal import Entry, Journal

MALFORMED = b'{"id": "session-'
"""The body of a `malformed` answer: the beginning of a JSON document."""


class Pipeline:
    """The state that calls share."""

    def __init__(self, journal: Journal, faults: Faults, required: tuple[str, str] | None) -> None:
        self._journal = journal
        self._faults = faults
        self._keys = Keys()
        self._required = required

    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answers one call and records it."""
        body = await request.read()
        caller = RunCaller.from_headers(request.headers)
        # There must be no await between the log and the choice of the rule: both are in the order of arrival.
        entry = self._journal.arrived(caller, request.method, request.path, request.headers)
        rule = self._faults.take(caller, request.method, request.path)
        try:
            answer = await self._answer(request, handler, body, entry, rule)
        except Refusal as refusal:
            answer = _refused(refusal)
        except Dropped:
            self._journal.answered(entry, None)
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        self._journal.answered(entry, answer.status)
        return web.Response(status=answer.status, body=answer.body, content_type="application/json")

    async def _answer(
        self, request: web.Request, handler: Handler, body: bytes, entry: Entry, rule: Rule | None
    ) -> KeptAnswer:
        if self._required is not None:
            name, value = self._required
            if request.headers.get(name) != value:
                raise Refusal(401, f"the header {name} is missing or wrong")

        async def slow() -> None:
            if rule is not None:
                await rule.apply("before")

        async def work() -> KeptAnswer:
            entry.performed = True
            return await _perform(request, handler)

        key = entry.idempotency_key if request.method == "POST" else None
        fingerprint = hashlib.sha256(b"\0".join([request.method.encode(), request.path.encode(), body])).hexdigest()
        answer, entry.replayed = await self._keys.once(key, fingerprint, slow, work)
        if rule is not None:
            await rule.apply("after")
            if rule.fault.action == "malformed":
                return KeptAnswer(answer.status, MALFORMED)
        return answer


async def _perform(request: web.Request, handler: Handler) -> KeptAnswer:
    """Does the work; a refusal is an answer too, and the one that a repeated call gets."""
    try:
        response = await handler(request)
    except Refusal as refusal:
        return _refused(refusal)
    except web.HTTPException as error:
        return _refused(Refusal(error.status, f"{request.method} {request.path}: {error.reason}"))
    assert isinstance(response, web.Response)
    assert isinstance(response.body, bytes)
    return KeptAnswer(response.status, response.body)


def _refused(refusal: Refusal) -> KeptAnswer:
    return KeptAnswer(refusal.status, json.dumps({"error": {"message": refusal.message}}).encode())
