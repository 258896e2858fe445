"""The one configuration of wasmtime that modules are compiled and run with.

The numbers answer traps that were measured on wasmtime 50. By itself, so that whoever keeps artifacts need not load it.
"""

import platform
import sys

MEMORY_RESERVATION = 64 << 20
"""Address space set aside for each linear memory. The default is 4 GiB, which exhausts it at some thousand guests."""

MAX_WASM_STACK = 512 << 10
"""Above 2 MiB a guest's recursion reaches the thread's own guard page, which aborts the process."""

MAX_TABLE_ELEMENTS = 100_000
MAX_TABLES = 32
MAX_INSTANCES = 64
"""Core instances of one component: wit-component makes about five, a composition of a few components some more."""

BASELINES = {"x86_64": "x86_64-unknown-linux-gnu", "aarch64": "aarch64-unknown-linux-gnu"}
"""For what modules are compiled on Linux, by the machine: what every processor of this kind has, so that an artifact
made on one node opens on all others. Elsewhere it is for the very machine."""

SETTINGS: dict[str, object] = {
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


def compile_target() -> str | None:
    """For what modules are compiled here; None: for this very machine."""
    return BASELINES.get(platform.machine()) if sys.platform == "linux" else None
