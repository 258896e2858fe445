"""A guest runs, returns, traps or hits a limit; whatever it does, the process and the other guests go on.

| guest                         | ends as                          |
|-------------------------------|----------------------------------|
| returns, calls, logs          | Returned                         |
| unreachable, division, stack  | Trapped, with the function       |
| wasi import called            | Trapped, naming the import       |
| memory, output, processor     | Exceeded, naming used, allowed   |
| result outside of its memory  | Trapped                          |
"""

import threading
import time
from collections.abc import Callable

import pytest
from wasmtime.component import _enter

from curation.wasm.guest_end import Exceeded, Returned, Trapped
from curation.wasm.host_functions import GuestStopped
from curation.wasm.limits import LimitName, Limits
from tests.guests import hostile
from tests.guests.wat import Script, component, returns
from tests.unit.wasm.running import Echo, run


def test_a_guest_gets_its_context_and_returns_it() -> None:
    echo = component(returns(0, "(local.get $context)", "(local.get $length)"))
    context = '{"job": "a job with ünïcödé and 🦀"}'
    assert run(echo, context=context) == Returned(True, context)


def test_a_guest_gets_the_answer_of_its_call() -> None:
    host = Echo()
    assert run(Script().call('{"n": 1}').answer(), host=host) == Returned(True, '{"n": 1}')
    assert host.requests == ['{"n": 1}']


def test_an_error_of_the_host_reaches_the_guest_as_an_error() -> None:
    class Refusing(Echo):
        def http_call(self, request: str) -> tuple[bool, str]:
            return False, '{"code": "denied"}'

    assert run(Script().call("{}").answer(), host=Refusing()) == Returned(False, '{"code": "denied"}')


def test_lines_that_a_guest_logs_reach_the_host_in_order() -> None:
    host = Echo()
    run(Script().log("one").log("two", level="error").ok("{}"), host=host)
    assert host.lines == [("info", "one"), ("error", "two")]


@pytest.mark.parametrize(
    ("wasm", "message", "function"),
    [
        (hostile.traps, "unreachable", "main!give_up"),
        (hostile.divides_by_zero, "integer divide by zero", "main!run"),
        (hostile.recurses, "call stack exhausted", "main!deep"),
        (hostile.returns_wild_pointer, "out of bounds", None),
        (hostile.returns_bad_utf8, "utf-8", None),
    ],
)
def test_a_trap_is_named_by_its_first_line_and_its_function(
    wasm: Callable[[], bytes], message: str, function: str | None
) -> None:
    end = run(wasm())
    assert isinstance(end, Trapped)
    assert message in end.message
    assert "\n" not in end.message
    assert end.function == function


MISLEADING = {
    "a memory limit": "memory minimum size of 7 pages exceeds memory limits",
    "a memory limit beyond all numbers": f"memory minimum size of {'9' * 5000} pages exceeds memory limits",
    "a second memory": "memory count too high",
    "a missing import": "unknown import: `wasi:cli/exit` has not been defined",
    "a cause of its own": "x\\0a\\0aCaused by:\\0a    0: memory minimum size of 7 pages exceeds memory limits",
    "lines of its own": "x\\0amemory count too high\\0aunknown import: `wasi:x`\\0a",
}


@pytest.mark.parametrize("name", MISLEADING.values(), ids=MISLEADING.keys())
def test_what_a_guest_calls_its_functions_does_not_change_how_its_end_is_reported(name: str) -> None:
    end = run(component("(call $x) (i32.const 0)", functions=f'(func $x (@name "{name}") unreachable)'))
    assert isinstance(end, Trapped)
    assert end.message == "wasm `unreachable` instruction executed"


@pytest.mark.parametrize("part", ["\\0a", " ", "1", "0a\\0a"], ids=["lines", "blanks", "digits", "short lines"])
def test_a_giant_name_of_a_function_holds_nobody_up(part: str) -> None:
    name = f"x\\0a{part * 30_000}z"
    wasm = component("(call $x) (i32.const 0)", functions=f'(func $x (@name "{name}") unreachable)')
    started = time.perf_counter()
    assert isinstance(run(wasm), Trapped)
    assert time.perf_counter() - started < 5, "what searches the text of a trap holds the GIL: the operator stops"


def test_a_guest_that_calls_wasi_traps_and_the_trap_names_the_import() -> None:
    end = run(hostile.calls_wasi())
    assert isinstance(end, Trapped)
    assert "wasi:cli/exit@0.2.0#exit" in end.message
    assert "no clock" in end.message


def test_a_guest_that_needs_too_much_memory_to_begin_is_reported_with_how_much() -> None:
    end = run(hostile.starts_with(pages=64), limits=Limits(memory=2 << 20))
    assert isinstance(end, Exceeded)
    assert end.hit.name is LimitName.MEMORY
    assert (end.hit.used, end.hit.allowed) == ("4Mi at its start", "2Mi")


def test_a_memory_bomb_ends_at_its_memory_limit() -> None:
    end = run(hostile.allocates_for_ever(), limits=Limits(memory=8 << 20, cpu_seconds=20))
    assert isinstance(end, Exceeded)
    assert end.hit.name is LimitName.MEMORY
    assert end.hit.allowed == "8Mi"


def test_a_guest_that_goes_on_growing_without_getting_any_ends_at_its_processor_limit() -> None:
    end = run(hostile.grows_for_ever(), limits=Limits(memory=2 << 20, cpu_seconds=0.1))
    assert isinstance(end, Exceeded)
    assert end.hit.name is LimitName.CPU_SECONDS


def test_a_second_linear_memory_does_not_double_the_limit() -> None:
    end = run(hostile.has_two_memories())
    assert isinstance(end, Exceeded)
    assert end.hit.name is LimitName.MEMORY


def test_a_giant_output_is_refused_with_its_size() -> None:
    end = run(hostile.returns_giant(2 << 20), limits=Limits(output_size=32 << 10))
    assert isinstance(end, Exceeded)
    assert (end.hit.name, end.hit.used, end.hit.allowed) == (LimitName.OUTPUT_SIZE, "2097152 bytes", "32Ki")


def test_an_endless_loop_ends_at_its_processor_limit() -> None:
    end = run(hostile.spins(), limits=Limits(cpu_seconds=0.1))
    assert isinstance(end, Exceeded)
    assert end.hit.name is LimitName.CPU_SECONDS
    assert end.hit.allowed == "0.1 s"
    assert float(end.hit.used.removesuffix(" s")) >= 0.1


def test_a_loop_after_a_call_ends_at_its_processor_limit() -> None:
    host = Echo()
    end = run(Script().call("{}").ends_with(hostile.SPIN), host=host, limits=Limits(cpu_seconds=0.1))
    assert isinstance(end, Exceeded)
    assert end.hit.name is LimitName.CPU_SECONDS
    assert len(host.requests) == 1


def test_a_host_function_that_fails_traps_its_own_guest_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Echo):
        def http_call(self, request: str) -> tuple[bool, str]:
            raise ValueError("a bug of the host")

    end = run(Script().call("{}").answer(), host=Broken())
    assert isinstance(end, Trapped)
    assert "the host failed: ValueError" in end.message
    # An exception kept here would be raised by whichever thread leaves a guest next.
    assert _enter.LAST_EXCEPTION is None
    assert "a host function failed" in caplog.text
    assert isinstance(run(Script().ok("{}")), Returned)


def test_a_host_function_can_end_its_guest() -> None:
    class Stopping(Echo):
        def http_call(self, request: str) -> tuple[bool, str]:
            raise GuestStopped("enough")

    end = run(Script().call("{}").answer(), host=Stopping())
    assert end == Trapped("stopped by the host: enough", "main!step0")


def test_an_answer_that_is_no_valid_text_does_not_harm_another_guest() -> None:
    class Surrogate(Echo):
        def http_call(self, request: str) -> tuple[bool, str]:
            return True, "\ud800"

    assert run(Script().call("{}").answer(), host=Surrogate()) == Returned(True, "?")
    assert _enter.LAST_EXCEPTION is None


def test_hostile_guests_side_by_side_do_not_disturb_a_healthy_one() -> None:
    limits = Limits(cpu_seconds=0.3, memory=8 << 20)
    bad = [hostile.spins(), hostile.recurses(), hostile.allocates_for_ever(), hostile.traps(), hostile.calls_wasi()]
    ends: list[object] = []
    threads = [threading.Thread(target=lambda wasm=wasm: ends.append(run(wasm, limits=limits))) for wasm in bad]
    for thread in threads:
        thread.start()
    good = [run(Script().call("{}").ok(f'{{"n": {n}}}')) for n in range(20)]
    for thread in threads:
        thread.join(60)
    assert good == [Returned(True, f'{{"n": {n}}}') for n in range(20)]
    assert len(ends) == len(bad)
    assert not any(isinstance(end, Returned) for end in ends)
