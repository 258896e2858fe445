"""Runs a guest to its end without an executor: what the tests of this folder share."""

import threading
from collections.abc import Callable
from contextlib import closing

from wasmtime.component import Component

from curation.wasm.abi import abi_problems
from curation.wasm.engine import new_engine, new_store
from curation.wasm.guest import interrupted, run_guest
from curation.wasm.guest_end import GuestEnd, Trapped
from curation.wasm.host_functions import Host
from curation.wasm.limits import Limits
from curation.wasm.watchdog import GuestWatch, Watchdog


class Echo:
    """A host that answers a request with itself and keeps what is logged."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.lines: list[tuple[str, str]] = []
        self.watch: GuestWatch | None = None
        self.called = threading.Event()

    def http_call(self, request: str) -> tuple[bool, str]:
        self.requests.append(request)
        self.called.set()
        return True, request

    def log(self, level: str, message: str) -> None:
        self.lines.append((level, message))


def run(
    wasm: bytes,
    *,
    host: Host | None = None,
    limits: Limits | None = None,
    context: str = "{}",
    watchdog: Watchdog | None = None,
    started: Callable[[GuestWatch], None] | None = None,
) -> GuestEnd:
    """One run under a watch, as the executor does it."""
    limits = limits or Limits()
    own = watchdog or Watchdog()
    try:
        with closing(new_engine()) as engine, closing(Component(engine, wasm)) as component:
            assert abi_problems(engine, component) == []
            with closing(new_store(engine, limits)) as store, own.watch(store, limits) as watch:
                if started is not None:
                    started(watch)
                end = run_guest(store, component, host or Echo(), context, limits)
                if isinstance(end, Trapped) and watch.interruption is not None:
                    return interrupted(watch.interruption, limits)
                return end
    finally:
        if watchdog is None:
            own.stop()
