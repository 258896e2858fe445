"""One control plane for all the processes of a test run, started when the first of them asks, stopped by its owner.

The owner is the process that ends last: pytest itself, or the controller of pytest-xdist. A worker asks it over a local
socket and never owns a server, since workers come and go (xdist replaces those that crash) while others go on.
Called by the pytest plugin.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Listener
from pathlib import Path

from testing.controlplane.connection import Connection
from testing.controlplane.errors import ControlPlaneError
from testing.controlplane.server import ControlPlane

_WORKERS = 256
_JOIN_SECONDS = 10.0


class SharedControlPlane:
    """The owner's side. `make` gives the control plane, not started, when the first process asks for it."""

    def __init__(self, make: Callable[[], ControlPlane]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._control_plane: ControlPlane | None = None
        self._failure = ""
        self._key = secrets.token_bytes(32)
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None
        self._stopping = False

    def connection(self) -> Connection:
        """The connection of the control plane, which is started by the first call; a failure is not tried again."""
        with self._lock:
            if self._failure:
                raise ControlPlaneError(self._failure)
            if self._control_plane is None:
                try:
                    control_plane = self._make()
                    control_plane.start()
                except ControlPlaneError as error:
                    self._failure = str(error)
                    raise
                self._control_plane = control_plane
            return self._control_plane.connection

    def invitation(self) -> str:
        """What another process of this machine gives to `ask`; starts to listen for it."""
        if self._listener is None:
            # All workers ask at once, and are answered one after the other.
            self._listener = Listener(("127.0.0.1", 0), backlog=_WORKERS, authkey=self._key)
            self._thread = threading.Thread(target=self._serve, args=(self._listener,), daemon=True)
            self._thread.start()
        host, port = self._listener.address
        return json.dumps({"host": host, "port": port, "key": self._key.hex()})

    def stop(self) -> None:
        """Stop listening, and stop the control plane if it was started."""
        self._stopping = True
        if self._listener and self._thread:
            # accept() in the other thread does not notice that its socket is closed; a caller wakes it.
            with suppress(OSError, EOFError):
                Client(self._listener.address, authkey=self._key).close()
            self._thread.join(_JOIN_SECONDS)
            self._listener.close()
        with self._lock:
            if self._control_plane:
                self._control_plane.stop()
                self._control_plane = None

    def _serve(self, listener: Listener) -> None:
        while not self._stopping:
            # A worker that is killed while it asks, or a stranger, must not end this for the others.
            with suppress(OSError, EOFError, AuthenticationError), listener.accept() as worker:
                if not self._stopping:
                    worker.send_bytes(json.dumps(self._answer()).encode())

    def _answer(self) -> dict[str, object]:
        try:
            connection = asdict(self.connection())
        except ControlPlaneError as error:
            return {"error": str(error)}
        return {name: str(value) if isinstance(value, Path) else value for name, value in connection.items()}


def ask(invitation: str) -> Connection:
    """The worker's side: the connection of the shared control plane; waits while it is built and started."""
    invited = json.loads(invitation)
    try:
        with Client((invited["host"], invited["port"]), authkey=bytes.fromhex(invited["key"])) as owner:
            answer = json.loads(owner.recv_bytes())
    except (OSError, EOFError) as error:
        raise ControlPlaneError("the process that owns the control plane of this test run has ended") from error
    if "error" in answer:
        raise ControlPlaneError(answer["error"])
    return Connection(**{**answer, "folder": Path(answer["folder"]), "binaries": Path(answer["binaries"])})
