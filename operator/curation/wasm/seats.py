"""Where guests run: an engine with one module opened and linked in it, for one guest at a time, one after the other.

To make one costs as much as a short run. So a few are kept for the next guest of the same module, whose store is its
own: nothing of a guest stays behind in an engine. A seat whose guest was not seen to its end is not used again.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from wasmtime.component import Component, Linker

from curation.wasm.engine import new_engine
from curation.wasm.heap import heap_bytes
from curation.wasm.host_functions import NO_HOST, Host, link
from curation.wasm.opening import open_artifact

KEPT: Final = 32
"""Free seats that are kept: observations of a namespace that are due together are ten and more, as are the runs of a
burst. A seat of the shipped module has 50 KB of its own."""
FEW: Final = 4
"""So many are kept whatever they hold."""
KEPT_HEAP_BYTES: Final = 4 << 20
"""More than those are kept only while this process holds no more than this beyond what it began with. What opening a
module takes is its author's choice: 25 MiB of an artifact of 2.6 MiB were seen."""
KEPT_BYTES: Final = 4 << 20
"""Of an artifact whose seats are kept. Of a large module the run takes longest, and a seat much room."""


class Compiled(Protocol):
    """A module that is compiled: `wasm.store.LoadedModule`."""

    @property
    def digest(self) -> str:
        """Of its WebAssembly."""
        ...

    @property
    def path(self) -> Path:
        """Of its artifact."""
        ...


class Seat:
    """One guest at a time may run here; the host that it finds is whoever `seated` it."""

    def __init__(self, module: Compiled) -> None:
        self.digest = module.digest
        self.small = False
        self.engine = new_engine()
        self._path = module.path
        self._component: Component | None = None
        self.good = False
        """To be set by whoever saw its guest return: another one may sit here."""
        self._host: Host = NO_HOST
        self._fields: dict[str, object] = {}
        self._linker: Linker | None = None

    def open(self) -> Component:
        """The module. Raises WasmtimeError if its artifact is gone."""
        if self._component is None:
            self._component = open_artifact(self.engine, self._path)
            with suppress(OSError):  # it is gone since
                self.small = self._path.stat().st_size <= KEPT_BYTES
        return self._component

    def seated(self, host: Host, log_fields: Mapping[str, object] | None) -> Linker:
        """The linker, whose functions call this host. Raises WasmtimeError."""
        self._host = host
        self._fields.clear()
        self._fields.update(log_fields or {})
        if self._linker is None:
            self._linker = link(self.engine, self.open(), self, self._fields)
        return self._linker

    def leave(self) -> None:
        """The guest is gone: its host is not called any more."""
        self._host = NO_HOST

    def http_call(self, request: str) -> tuple[bool, str]:
        """See `Host`."""
        return self._host.http_call(request)

    def log(self, level: str, message: str) -> None:
        """See `Host`."""
        self._host.log(level, message)

    def close(self) -> None:
        """No guest sits here any more."""
        if self._linker is not None:
            self._linker.close()
        if self._component is not None:
            self._component.close()
        self.engine.close()


class Seats:
    """The free seats of one process. For any threads."""

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._free: list[Seat] = []
        """Those that became free last come last."""
        self._lock = threading.Lock()
        self._closed = False
        self._began_with = heap_bytes()

    def __len__(self) -> int:
        return len(self._free)

    @contextmanager
    def take(self, module: Compiled) -> Iterator[Seat]:
        """A seat for one guest of this module."""
        seat = self._found(module.digest) or Seat(module)
        seat.good = False
        try:
            yield seat
        finally:
            seat.leave()
            self._give(seat)

    def drop(self, digest: str) -> None:
        """Free seats of this module are not needed any more."""
        with self._lock:
            gone = [each for each in self._free if each.digest == digest]
            self._free = [each for each in self._free if each.digest != digest]
        for each in gone:
            each.close()

    def close(self) -> None:
        """None is kept any more."""
        with self._lock:
            self._closed = True
            gone, self._free = self._free, []
        for each in gone:
            each.close()

    def _found(self, digest: str) -> Seat | None:
        with self._lock:
            for index in range(len(self._free) - 1, -1, -1):
                if self._free[index].digest == digest:
                    return self._free.pop(index)
        return None

    def _give(self, seat: Seat) -> None:
        gone = [seat]
        with self._lock:
            if seat.good and seat.small and not self._closed:
                self._free.append(seat)
                over = max(0, len(self._free) - self._may_keep())
                gone, self._free = self._free[:over], self._free[over:]
        for each in gone:
            each.close()

    def _may_keep(self) -> int:
        # Trap: what one seat took cannot be told from what other threads take and give back meanwhile. All that there
        # is can, and hides nothing.
        roomy = len(self._free) <= FEW or heap_bytes() <= self._began_with + KEPT_HEAP_BYTES
        return self._most if roomy else min(self._most, FEW)
