"""The one configuration of wasmtime that modules are compiled and run with, and what it is identified by.

The numbers answer traps that were measured on wasmtime 50.
"""

import hashlib
import platform
from importlib.metadata import version
from typing import Protocol

from wasmtime import Config, Engine, Store

MEMORY_RESERVATION = 64 << 20
"""Address space set aside for each linear memory. The default is 4 GiB, which exhausts it at some thousand guests."""

MAX_WASM_STACK = 512 << 10
"""Above 2 MiB a guest's recursion reaches the thread's own guard page, which aborts the process."""

MAX_TABLE_ELEMENTS = 100_000
MAX_TABLES = 32
MAX_INSTANCES = 64
"""Core instances of one component: wit-component makes about five, a composition of a few components some more."""

_SETTINGS: dict[str, object] = {
    "epoch_interruption": True,
    "memory_reservation": MEMORY_RESERVATION,
    "memory_reservation_for_growth": MEMORY_RESERVATION,
    "memory_guard_size": 64 << 10,
    "max_wasm_stack": MAX_WASM_STACK,
    # A later faulthandler.enable() (or any library that takes SIGSEGV) would turn a guest's trap into our crash.
    "signals_based_traps": False,
    # One module is compiled at a time, on one core: the other one belongs to the event loop.
    "parallel_compilation": False,
    "wasm_threads": False,
    "wasm_memory64": False,
    "wasm_gc": False,
    "wasm_function_references": False,
    "wasm_exceptions": False,
    "wasm_stack_switching": False,
    "gc_support": False,
}


class MemoryLimit(Protocol):
    """What a store needs of a run's limits."""

    @property
    def memory(self) -> int:
        """Bytes of linear memory."""
        ...


def new_engine() -> Engine:
    """An engine that accepts the artifacts of every other engine made here. About 15 us."""
    config = Config()
    for name, value in _SETTINGS.items():
        setattr(config, name, value)
    return Engine(config)


def artifact_key() -> str:
    """Identifies what a compiled artifact depends on besides the module: wasmtime, our settings, the machine."""
    text = f"{version('wasmtime')}|{platform.system()}|{platform.machine()}|{sorted(_SETTINGS.items())!r}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def new_store(engine: Engine, limits: MemoryLimit) -> Store:
    """A store for one guest, whose code stops at the first tick of its engine's epoch.

    `memory` bounds the one linear memory that a module may have: wasmtime counts it for each memory, so a second one
    would double it.
    """
    store = Store(engine)
    store.set_limits(
        memory_size=limits.memory,
        table_elements=MAX_TABLE_ELEMENTS,
        instances=MAX_INSTANCES,
        tables=MAX_TABLES,
        memories=1,
    )
    store.set_epoch_deadline(1)
    return store
