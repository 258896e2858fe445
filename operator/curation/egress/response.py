"""One exchange on a wire: the request as bytes, and its answer, read within bounds that are ours.

Called by the client. h11 knows the grammar of heads, which is where servers and parsers disagree; what is bounded and
counted is counted here, before h11 sees it: informational answers, bytes, headers. A body is read as its head says.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import h11

from curation.egress.chunks import ChunkDecoder, NotChunked
from curation.egress.content import codings
from curation.egress.errors import AnswerOverBounds, ResponseTooLarge, Unavailable
from curation.egress.loop_turns import LoopTurns
from curation.egress.wire import Wire

MAX_INFORMATIONAL: Final = 8
"""Informational (1xx) answers before the answer."""
MAX_HEAD: Final = 64 * 1024
"""Bytes of an answer's heads in all: status lines, headers and line ends, of informational answers and trailers too."""
MAX_ANSWER_HEADERS: Final = 512
"""Headers of an answer in all, those of informational answers and trailers included."""

_STEP: Final = 8192
"""Bytes of a chunked body that are decoded at a time."""
_FINAL: Final = re.compile(rb"HTTP/1\.[0-9] ([2-5][0-9]{2})[ \r\n]")
_HEAD_END: Final = re.compile(rb"\n\r?\n")
# h11 takes no other transfer coding than chunked, and says of all others that they are no HTTP. So it reads the header,
# its folds and blanks, by a name that means nothing to it.
_TRANSFER_ENCODING: Final = re.compile(rb"(?im)^transfer-encoding(?=[ \t]*:)")
_BY_ANOTHER_NAME: Final = b"transfer-encoding-as-sent"
# h11 says of an answer with one header whose name is no token (RFC 9110 section 5.1), or has blanks behind it, that it
# is no HTTP; common clients read it. Not so where it may be meant to frame the answer: in that clients differ.
_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_ODD_HEADER: Final = re.compile(rb"(?m)^(?!" + _TOKEN + rb":)([!-9;-~][ \t!-9;-~]*)(:[^\n]*\n(?:[ \t][^\n]*\n)*)")
_NO_LETTER: Final = re.compile(rb"[^a-z]")
_FRAMING: Final = (b"contentlength", b"transferencoding")
_CUT = "the answer was cut short"
_OTHER_CODING = "the answer has a transfer coding that nobody asked for, other than chunked, gzip, deflate and br"
_NO_HTTP = "the answer is not valid HTTP"  # what h11 says quotes the answer, what it repeats of the request too


@dataclass(frozen=True, slots=True)
class Response:
    """An answer as it came: its headers as on the wire, its body without the chunks but with its content coding."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytearray
    codings: list[str]
    """Transfer codings under the chunks, which no request asks for: the last one applied first."""
    ended: bool
    """The connection stays open at the end of this answer, and both sides may use it for another request."""


class Exchange:
    """One request, which is written by who calls, and its answer."""

    def __init__(self, method: str, target: str, headers: list[tuple[str, str]], body: bytes | None) -> None:
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=2 * MAX_HEAD)
        self._method = method
        length = [] if body is None and method in ("GET", "HEAD", "OPTIONS") else [str(len(body or b""))]
        framed = [*headers, *(("Content-Length", each) for each in length)]
        events = [h11.Request(method=method, target=target, headers=framed), h11.EndOfMessage()]
        if body:
            events.insert(1, h11.Data(data=body))
        self.request = b"".join(self._h11.send(event) or b"" for event in events)
        """All of it, for the wire."""
        self.begun = False
        """A byte of the answer has arrived."""
        self.status: int | None = None
        """HTTP status of the answer, also of one whose head is over a bound."""
        self._buffer = b""
        self._odd = False
        self._head = 0
        self._headers = 0

    async def answer(self, wire: Wire, limit: int) -> Response:
        """Read the answer, whose body may have ``limit`` bytes.

        Raises `Unavailable`, `ResponseTooLarge` and `AnswerOverBounds`.
        """
        for _ in range(MAX_INFORMATIONAL + 1):
            head = self._parsed(await self._read_head(wire))
            if isinstance(head, h11.Response):
                self.status = head.status_code
                break
        else:
            raise AnswerOverBounds(f"it gave over {MAX_INFORMATIONAL} informational (1xx) answers before its answer")
        headers = [each for each in head.headers.raw_items() if each[0].lower() != _BY_ANOTHER_NAME]
        values = {name: value.lower() for name, value in head.headers}
        framed = True
        transfer: list[str] = []
        under: list[str] = []
        if self._method == "HEAD" or head.status_code in (204, 304):
            body = bytearray()
        else:
            transfer = _transfer_codings(value for name, value in head.headers if name == _BY_ANOTHER_NAME)
            chunked = transfer[:1] == ["chunked"]
            under = transfer[1:] if chunked else transfer
            if chunked:
                body = await self._read_chunks(wire, limit)
            elif b"content-length" in values and not transfer:
                body = await self._read_length(wire, int(values[b"content-length"]), limit)
            else:
                body, framed = await self._read_to_end(wire, limit), False
        said = b",".join(value.lower() for name, value in head.headers if name == b"connection")
        ended = (
            framed
            and head.http_version == b"1.1"
            and b"close" not in said
            # What others may read otherwise.
            and (_BY_ANOTHER_NAME not in values or (transfer == ["chunked"] and b"content-length" not in values))
            and not self._odd
            and not self._buffer
        )
        return Response(head.status_code, headers, body, under, ended)

    async def _receive(self, wire: Wire, ended: str) -> bytes:
        try:
            data = await wire.receive()
        except OSError as exc:
            raise Unavailable(ended) from exc
        if not data:
            raise Unavailable(ended)
        self.begun = True
        return data

    async def _read_head(self, wire: Wire, ended: str = "the connection was closed before an answer") -> bytes:
        searched = 0
        while not (match := _HEAD_END.search(self._buffer, searched)):
            self._check_head(self._buffer)
            searched = max(0, len(self._buffer) - 2)
            self._buffer += await self._receive(wire, ended)
        head, self._buffer = self._buffer[: match.end()], self._buffer[match.end() :]
        self._check_head(head)
        self._head += len(head)
        self._headers += head.count(b"\n") - 2
        return head

    def _check_head(self, head: bytes) -> None:
        many = self._headers + head.count(b"\n") - 2 > MAX_ANSWER_HEADERS
        if not many and self._head + len(head) <= MAX_HEAD:
            return
        if self.status is None and (match := _FINAL.match(head)):
            self.status = int(match[1])
        if many:
            raise AnswerOverBounds(f"its answer has over {MAX_ANSWER_HEADERS} headers in all")
        raise AnswerOverBounds(f"the head of its answer is over {MAX_HEAD >> 10} KiB in all")

    def _parsed(self, head: bytes) -> h11.Response | h11.InformationalResponse:
        if re.match(rb"HTTP/1\.[0-9] 101(?![0-9])", head):
            raise Unavailable("it switched protocols unasked")
        status, line_end, headers = head.partition(b"\n")
        plain = _ODD_HEADER.sub(_plain, headers)
        self._odd = self._odd or plain != headers
        try:
            self._h11.receive_data(status + line_end + _TRANSFER_ENCODING.sub(_BY_ANOTHER_NAME, plain))
            event = self._h11.next_event()
        except (h11.ProtocolError, ValueError) as exc:
            raise Unavailable(_NO_HTTP) from exc
        if not isinstance(event, h11.Response | h11.InformationalResponse):
            raise Unavailable(_NO_HTTP)
        return event

    async def _read_length(self, wire: Wire, length: int, limit: int) -> bytearray:
        if length > limit:
            raise ResponseTooLarge(length, limit)
        body = bytearray(self._buffer)
        while len(body) < length:
            body += await self._receive(wire, _CUT)
        self._buffer = bytes(body[length:])
        del body[length:]
        return body

    async def _read_to_end(self, wire: Wire, limit: int) -> bytearray:
        body, self._buffer = bytearray(self._buffer), b""
        while len(body) <= limit:
            try:
                data = await wire.receive()
            except OSError as exc:
                raise Unavailable(_CUT) from exc
            if not data:
                return body
            body += data
        raise ResponseTooLarge(len(body), limit)

    async def _read_chunks(self, wire: Wire, limit: int) -> bytearray:
        chunks, turns = ChunkDecoder(limit), LoopTurns()
        data, self._buffer = self._buffer, b""
        while True:
            for at in range(0, len(data), _STEP):
                try:
                    ended = chunks.feed(data[at : at + _STEP])
                except NotChunked as exc:
                    raise Unavailable(_NO_HTTP) from exc
                if ended:
                    # The trailers: read as the end of a head, whose first line is the last chunk's.
                    self._buffer = b"0\r\n" + chunks.rest + data[at + _STEP :]
                    await self._read_head(wire, _CUT)
                    return chunks.body
                await turns.rest()
            data = await self._receive(wire, _CUT)


def _plain(header: re.Match[bytes]) -> bytes:
    """An odd header without the blanks behind its name, or nothing if that is no name; one that may frame, as it is."""
    name = header[1].rstrip()
    if _NO_LETTER.sub(b"", name.lower()) in _FRAMING:
        return header[0]
    return name + header[2] if re.fullmatch(_TOKEN, name) else b""


def _transfer_codings(values: Iterable[bytes]) -> list[str]:
    """The transfer codings, the last one applied first. Raises `Unavailable` for what cannot be undone."""
    said = b",".join(values).decode("ascii", "replace").lower()
    names = [name for each in said.split(",") if (name := each.strip()) not in ("", "identity")]
    under = names[:-1] if names[-1:] == ["chunked"] else names
    if "chunked" in under:
        raise Unavailable(_NO_HTTP)  # RFC 9112 section 6.1: once, and last
    if len(codings(",".join(under))) != len(under):
        raise Unavailable(_OTHER_CODING)
    return names[::-1]
