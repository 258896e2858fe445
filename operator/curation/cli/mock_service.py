"""Answers from a file in the place of services: the sender of `curation-operator try --mock`.

Only the network is left out. What must not leave is refused, the last check is made, and what an answer is allowed to
be is bounded, all as the client does it.
"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from curation.api.files import MockAnswer, MockAnswers, MockResponse
from curation.cli.errors import PluginError
from curation.cli.file_errors import Mistakes, loaded, parsed
from curation.cli.policy_files import read_text
from curation.egress.client import OutboundRequest, OutboundResponse, checked
from curation.egress.errors import EgressRefused, ResponseTooLarge, Unavailable
from curation.egress.floor import AddressFloor
from curation.egress.headers import response_headers
from curation.egress.url import canonical_method, parse_url

ANY: Final = "*"


@dataclass(slots=True)
class _Answer:
    method: str | None
    url: tuple[str, ...]
    """What is between the stars of its URL."""
    given: MockAnswer
    left: int | None
    """How often it still answers; None: always."""


@dataclass(slots=True)
class MockService:
    """Implements `execution.executor.Sender`."""

    file: str
    floor: AddressFloor
    answers: list[_Answer] = field(default_factory=list)

    @classmethod
    def of(cls, file: str, floor: AddressFloor) -> "MockService":
        """The answers of a file, - is standard input. Raises PluginError, with each mistake."""
        text = read_text(file)
        try:
            documents = loaded(file, text)
            if len(documents) != 1:
                raise Mistakes([f"it holds {len(documents)} documents; give one, with the field answers"])
            found = parsed(MockAnswers, documents[0])
            return cls(file, floor, [_answer(index, each) for index, each in enumerate(found.answers)])
        except Mistakes as mistakes:
            raise PluginError("\n".join(f"{file}: {problem}" for problem in mistakes.problems)) from None

    async def send(
        self,
        request: OutboundRequest,
        *,
        timeout: float,  # noqa: ASYNC109 - the client's own signature
        max_response_bytes: int,
        on_departure: Callable[[], None] | None = None,
    ) -> OutboundResponse:
        """See `egress.client.EgressClient.send`; a call that no answer of the file fits gets none."""
        checked(request, self.floor)
        if on_departure is not None:
            on_departure()
        answer = self._taken(request)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.sleep(answer.delay_seconds)
        except TimeoutError:
            raise Unavailable(f"{request.url.origin}: no answer within {timeout:g} s") from None
        if answer.response is None:
            raise Unavailable(f"{request.url.origin}: {answer.unavailable}")
        return _response(answer.response, max_response_bytes)

    def _taken(self, request: OutboundRequest) -> MockAnswer:
        method = canonical_method(request.method)
        for each in self.answers:
            fits = each.method in (None, method) and _fits(each.url, request.url.url)
            if fits and each.left != 0:
                if each.left is not None:
                    each.left -= 1
                return each.given
        raise Unavailable(f"{self.file} has no answer for {method} {request.url.url}; add one")


def _answer(index: int, given: MockAnswer) -> _Answer:
    try:
        method = None if given.method is None else canonical_method(given.method)
    except EgressRefused as error:
        raise Mistakes([f"answers[{index}].method: {error}"]) from None
    try:
        url = ANY if given.url == ANY else parse_url(given.url).url
    except EgressRefused as error:
        raise Mistakes([f"answers[{index}].url: {error}"]) from None
    return _Answer(method, tuple(url.split(ANY)), given, given.times)


def _fits(parts: tuple[str, ...], url: str) -> bool:
    """Whether the URL is the parts with anything between them.

    Trap: a regular expression needs time with the length of the URL to the power of the number of stars, cannot be
    interrupted, and the URL is the module's.
    """
    if len(parts) == 1:
        return url == parts[0]
    first, *between, last = parts
    if not url.startswith(first):
        return False
    at = len(first)
    for part in between:
        found = url.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(url) - at >= len(last) and url.endswith(last)


def _response(given: MockResponse, most: int) -> OutboundResponse:
    headers = dict(given.headers)
    body = (given.body or "").encode()
    if given.document is not None:
        body = json.dumps(given.document, ensure_ascii=False).encode()
        if "content-type" not in {name.lower() for name in headers}:
            headers["content-type"] = "application/json"
    if len(body) > most:
        error = ResponseTooLarge(len(body), most)
        error.status = given.status
        raise error
    raw = [(name.encode("ascii", "replace"), value.encode()) for name, value in headers.items()]
    return OutboundResponse(given.status, response_headers(raw), body)
