"""A hostile HTTP server at full speed: raw sockets and threads, and the path of a request says what it gets.

`python -m tests.peers.hostile [CERTIFICATE KEY]` prints its port and serves until its standard input ends.
"""

import itertools
import socket
import ssl
import sys
import threading
import zlib
from collections.abc import Iterator

import brotli

BLOCK = 1 << 16
HANG = "/hang"
"""Never answered."""
OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def for_ever(piece: bytes) -> Iterator[bytes]:
    return itertools.repeat(piece * max(1, BLOCK // len(piece)))


def chunks(head: bytes, sizes: tuple[int, ...], total: int) -> Iterator[bytes]:
    """A head, and a body of so many bytes in chunks of these sizes, in turn."""
    out, left = bytearray(head), total
    for size in itertools.cycle(sizes):
        taken = min(size, left)
        out += b"%x\r\n" % taken + b"a" * taken + b"\r\n"
        left -= taken
        if left == 0:
            break
        if len(out) >= BLOCK:
            yield bytes(out)
            out.clear()
    yield bytes(out) + b"0\r\n\r\n"


def whole(headers: bytes, body: bytes) -> bytes:
    return OK + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


def bomb(wbits: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(40)) + packer.flush()


def answer(path: str) -> Iterator[bytes]:
    """The pieces of an answer."""
    match path.strip("/").split("/"):
        case ["informational"]:
            yield from for_ever(b"HTTP/1.1 102 Wait\r\n\r\n")
        case ["informational", number]:
            yield b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * int(number) + whole(b"", b"ok")
        case ["status-line"]:
            yield from for_ever(b"a")
        case ["header-line"]:
            yield OK + b"X: "
            yield from for_ever(b"a")
        case ["blanks"]:
            yield OK + b"X: a"
            yield from for_ever(b" ")
        case ["folded"]:
            yield OK + b"X: a\r\n"
            yield from for_ever(b" \r\n")
        case ["headers"]:
            yield OK
            yield from for_ever(b"A: b\r\n")
        case ["head", size, number]:
            # A head of so many bytes with so many headers, its framing included.
            start, end = OK + b"Content-Length: 2\r\n", b"\r\nok"
            each = (int(size) - len(start) - 2) // (int(number) - 2)
            lines = [b"X: " + b"a" * (each - 5) + b"\r\n"] * (int(number) - 2)
            lines[-1] = b"X: " + b"a" * (int(size) - len(start) - 2 - each * (int(number) - 3) - 5) + b"\r\n"
            yield start + b"".join(lines) + end
        case ["body"]:
            yield OK + b"\r\n"
            yield from for_ever(b"a")
        case ["body", size]:
            yield whole(b"", b"a" * int(size))
        case ["chunks", sizes, total]:
            yield from chunks(CHUNKED, tuple(map(int, sizes.split(","))), int(total))
        case ["records", size, total]:
            # Under TLS each piece is a record.
            yield OK + b"Content-Length: %d\r\n\r\n" % min(int(total), 1 << 20)
            yield from itertools.repeat(b"a" * int(size), int(total) // int(size))
        case ["chunk-line"]:
            yield CHUNKED + b"1;"
            yield from for_ever(b"a")
        case ["chunk-lines"]:
            yield CHUNKED
            yield from for_ever(b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\na\r\n")
        case ["trailers"]:
            yield CHUNKED + b"0\r\n"
            yield from for_ever(b"A: b\r\n")
        case ["gzip-bomb"]:
            yield whole(b"Content-Encoding: gzip\r\n", bomb(31))
        case ["deflate-bomb"]:
            yield whole(b"Content-Encoding: deflate\r\n", bomb(15))
        case ["brotli-bomb"]:
            yield whole(b"Content-Encoding: br\r\n", brotli.compress(bytes(40 << 20), quality=5))
        case ["gzip-members"]:
            empty = zlib.compressobj(9, zlib.DEFLATED, 31).flush()
            yield whole(b"Content-Encoding: gzip\r\n", empty * (900_000 // len(empty)))
        case _:
            yield b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def serve(connection: socket.socket, tls: ssl.SSLContext | None) -> None:
    with connection:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer = connection if tls is None else tls.wrap_socket(connection, server_side=True)
            with peer:
                head = b""
                while b"\r\n\r\n" not in head:
                    piece = peer.recv(BLOCK)
                    if not piece:
                        return
                    head += piece
                path = head.split(b" ")[1].decode()
                if path != HANG:
                    for piece in answer(path):
                        peer.sendall(piece)
                    peer.shutdown(socket.SHUT_WR)
                while peer.recv(BLOCK):
                    pass
        except OSError:
            pass  # the client had enough


def listen(listener: socket.socket, tls: ssl.SSLContext | None) -> None:
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection, tls), daemon=True).start()


def main(arguments: list[str]) -> None:
    tls = None
    if arguments:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*arguments)
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(listener.getsockname()[1], flush=True)
    threading.Thread(target=listen, args=(listener, tls), daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
