"""What is a module and what is not, and that the refusal says what is wrong and what helps."""

from collections.abc import Callable

import pytest
from wasmtime import Config, Engine
from wasmtime.component import Component

from curation.wasm.module_bytes import builtin_bytes, builtin_names
from curation.wasm.module_errors import ModuleLoadError
from curation.wasm.module_size import MAX_MODULE_BYTES
from curation.wasm.store import check_module
from tests.guests import hostile
from tests.guests.wat import Script


def test_a_guest_of_the_world_has_no_problems() -> None:
    assert check_module(Script().call("{}").log("x").ok("{}")) == []


def test_wasi_imports_are_no_problem_until_they_are_called() -> None:
    assert check_module(hostile.calls_wasi()) == []


def test_every_builtin_module_fits_and_carries_a_version_in_its_name() -> None:
    assert builtin_names()
    for name in builtin_names():
        assert check_module(builtin_bytes(name)) == [], name
        assert name.rpartition("-v")[2].isdigit(), name


def precompiled() -> bytes:
    """What wasmtime itself compiled, as `wasmtime compile` writes it."""
    engine = Engine(Config())
    return bytes(Component(engine, Script().ok("{}")).serialize())


@pytest.mark.parametrize(
    ("wasm", "expected"),
    [
        (lambda: b"", "not WebAssembly"),
        (lambda: b"PK\x03\x04 an archive", "not WebAssembly"),
        (lambda: b"(component)", "binary component, not its text"),
        (lambda: b"\0asm", "unknown version"),
        (lambda: b"\0asm\x02\x00\x00\x00", "unknown version"),
        (lambda: b"\0asm\x0d\x00\x01\x00\xff\xff", "does not compile"),
        (hostile.core_module, "core WebAssembly module"),
        (hostile.core_module, "wasm-tools component new"),
        (precompiled, "precompiled artifact"),
        (hostile.exports_nothing, "must export run"),
        (hostile.exports_nothing, "it exports nothing"),
        (
            hostile.exports_run_of_another_type,
            "export run must be `func(context: string) -> result<string, string>`, not `func() -> u32`",
        ),
        (hostile.imports_more, "unknown import 'curation:guest/secrets@0.1.0'"),
        (hostile.imports_more_of_host, "unknown import curation:guest/host@0.1.0#read-file"),
        (
            hostile.imports_log_of_another_type,
            "must be `func(level: string, message: string)`, not `func(message: string)`",
        ),
        (hostile.exports_async_run, "export run is async: declare it as a plain `func`"),
        (hostile.imports_async_http_call, "this import is declared `async func`"),
        (lambda: b"\0asm\x0d\x00\x01\x00" + bytes(MAX_MODULE_BYTES), f"at most {MAX_MODULE_BYTES}"),
    ],
)
def test_what_is_no_module_is_refused_with_the_reason_and_the_remedy(wasm: Callable[[], bytes], expected: str) -> None:
    problems = check_module(wasm())
    assert any(expected in problem for problem in problems), problems
    assert all("\n" not in problem for problem in problems)


def test_all_problems_are_named_at_once() -> None:
    problems = check_module(hostile.imports_log_of_another_type().replace(b"run", b"ran"))
    assert len(problems) == 2, problems


def test_a_module_that_never_finishes_to_start_is_let_through_and_its_runs_show_it() -> None:
    assert check_module(hostile.spins_at_start()) == []


def test_an_unknown_builtin_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ModuleLoadError, match=builtin_names()[0]):
        builtin_bytes("../secrets")
