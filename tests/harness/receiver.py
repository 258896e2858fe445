"""A receiver of notices: a real HTTP server, which checks signatures and answers as it is told."""

import base64
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = b"a key of sixteen bytes and more"


@dataclass
class Receiver:
    """What came in, in order."""

    url: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    """CloudEvents whose signature is right."""
    statuses: list[int] = field(default_factory=list)
    """What it answers next; then 204."""
    unsigned: int = 0
    key: bytes = KEY
    notify: Callable[[], None] = lambda: None

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events whose type ends with this."""
        return [event for event in self.events if event["type"].endswith(kind)]


@contextmanager
def receiver(notify: Callable[[], None] = lambda: None, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver on a free port of 127.0.0.1; `notify` is called in another thread after each request.

    With a `context` it speaks TLS.
    """
    found = Receiver(notify=notify)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
            digest = base64.b64encode(hmac.digest(found.key, signed, hashlib.sha256)).decode()
            status = found.statuses.pop(0) if found.statuses else 204
            if self.headers["webhook-signature"] != f"v1,{digest}":
                found.unsigned += 1
            else:
                assert self.headers["Content-Type"].startswith("application/cloudevents+json")
                event = json.loads(body)
                assert event["id"] == self.headers["webhook-id"]
                found.events.append(event)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            found.notify()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            # The handshake in the thread of its request: one that fails is none of the others' business.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        found.url = f"http{'s' if context else ''}://127.0.0.1:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
