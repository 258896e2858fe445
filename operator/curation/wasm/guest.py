"""One run of a guest, from instance to result, and how it ended in words of ours instead of wasmtime's."""

import re
from collections.abc import Mapping

from wasmtime import Store, WasmtimeError
from wasmtime.component import Component, Linker, Variant

from curation.wasm.abi import RUN
from curation.wasm.guest_end import Exceeded, GuestEnd, Returned, StopCause, Stopped, Trapped
from curation.wasm.host_functions import Host, link
from curation.wasm.limits import LimitHit, LimitName, Limits, output_size_hit, size_text
from curation.wasm.seats import Seat
from curation.wasm.watchdog import Interruption

# Trap: functions are named by the guest, line breaks and megabytes included, and a search holds the GIL. So no pattern
# crosses lines, and what is to be believed is searched only after the last mark: no name of the guest's comes there.
_CAUSED_BY = "\n\nCaused by:\n"
_FRAME = re.compile(r"^ *\d+: +(?:0x[0-9a-f]+ - )?(\S.*)$", re.MULTILINE)
_CAUSE = re.compile(r"(?:\d+: )?(.*)")
_MEMORY_TOO_SMALL = re.compile(r"memory minimum size of (\d{1,15}) pages exceeds memory limits")
_UNDEFINED = re.compile(r"unknown import: `(wasi:[^`]+)`")
# What toolchains name the function that gives up when memory.grow was refused. wasmtime's public API does not say that
# it refused; a guest without names, or with other ones, is a plain Trap.
_OUT_OF_MEMORY = re.compile(r"handle_alloc_error|alloc_error_handler|\brust_oom\b|\b__rg_oom\b|\bcabi_realloc\b")
_PAGE = 1 << 16

SESSION_OUTPUT_BYTES = 1 << 20
"""How much longer than outputSize a result may be: a session that has ended counts, whatever the size of its output."""


def run_guest(
    store: Store,
    component: Component,
    host: Host,
    context: str,
    limits: Limits,
    log_fields: Mapping[str, object] | None = None,
) -> GuestEnd:
    """Runs a guest to its end in the calling thread, under a watch that the caller has on the store.

    An interruption shows as a Trapped: the caller, who knows of it, turns it with `interrupted`. Raises nothing of the
    guest's making.
    """
    try:
        with link(store.engine, component, host, log_fields) as linker:
            result = _run(store, component, linker, context)
    except WasmtimeError as error:
        return _ended(str(error), limits)
    return _returned(result, limits)


def run_seated(
    store: Store, seat: Seat, host: Host, context: str, limits: Limits, log_fields: Mapping[str, object] | None = None
) -> GuestEnd:
    """The same in a seat that is open, whose engine is the store's."""
    try:
        result = _run(store, seat.open(), seat.seated(host, log_fields), context)
    except WasmtimeError as error:
        return _ended(str(error), limits)
    seat.good = True
    return _returned(result, limits)


def _run(store: Store, component: Component, linker: Linker, context: str) -> Variant:
    function = linker.instantiate(store, component).get_func(store, RUN)
    assert function is not None, "the module was loaded without the ABI check"
    result: Variant = function(store, context)
    function.post_return(store)
    return result


def interrupted(interruption: Interruption, limits: Limits) -> GuestEnd:
    """How a guest ended that was interrupted and did not return."""
    match interruption.cause:
        case StopCause.CPU:
            used, allowed = f"{interruption.used:.2f} s", f"{limits.cpu_seconds:g} s"
            return Exceeded(LimitHit(LimitName.CPU_SECONDS, used, allowed))
        case StopCause.WALL:
            used, allowed = f"{interruption.used:.1f} s", f"{limits.wall_seconds:g} s"
            return Exceeded(LimitHit(LimitName.WALL_SECONDS, used, allowed))
        case StopCause.KILLED | StopCause.CLOSED:
            return Stopped(interruption.cause)


def _returned(result: Variant, limits: Limits) -> GuestEnd:
    document = result.payload
    assert isinstance(document, str)
    size = len(document.encode())
    if size > limits.output_size + SESSION_OUTPUT_BYTES:
        return Exceeded(output_size_hit(size, limits))
    return Returned(result.tag == "ok", document)


def _ended(text: str, limits: Limits) -> GuestEnd:
    trace, _, causes = text.rpartition(_CAUSED_BY)  # a text without the mark is its own cause
    frames = _FRAME.findall(trace)
    first = _CAUSE.match(causes.strip())
    assert first is not None, "it matches anything"
    message = first.group(1).removeprefix("wasm trap: ").strip()
    if too_small := _MEMORY_TOO_SMALL.search(causes):
        used = size_text(int(too_small.group(1)) * _PAGE)
        return Exceeded(LimitHit(LimitName.MEMORY, f"{used} at its start", size_text(limits.memory)))
    if "memory count too high" in causes:
        return Exceeded(LimitHit(LimitName.MEMORY, "more than one linear memory", "one linear memory"))
    if "unreachable" in message and any(_OUT_OF_MEMORY.search(frame) for frame in frames):
        function = frames[0]
        used = f"more than it could get (an allocation failed in {function})"
        return Exceeded(LimitHit(LimitName.MEMORY, used, size_text(limits.memory)))
    if undefined := _UNDEFINED.search(causes):
        message = f"called {undefined.group(1)}: a module has no clock, no files, no sockets and no environment"
    return Trapped(message, frames[0] if frames else None)
