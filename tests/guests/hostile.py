"""Guests that mean harm, each as WAT text around one idea."""

from wasmtime import wat2wasm

from tests.guests.wat import HOST, RETURN_AREA, Script, component, returns

SPIN = "(loop $forever (br $forever)) (i32.const 0)"
"""Instructions that never end."""


def spins() -> bytes:
    """Loops for ever."""
    return component("(call $spin) (i32.const 0)", functions="(func $spin (loop $forever (br $forever)))")


def breaks_when_it_observes(url: str, how: str) -> bytes:
    """Names a session, and reads it by a call; while that has no answer, it does this instead of saying so.

    As soon as the call has an answer, the session has completed.
    """
    script = Script()
    script.on("Submit", script.returning({"action": "SessionSpawned", "session": {"id": "s"}}))
    script.on("Cancel", script.returning({"action": "Cancelled"}))
    script.call({"method": "GET", "url": url})
    script.repeat(f"(if (i32.load8_u (i32.const {RETURN_AREA})) (then {how}))")
    return script.ok({"action": "Completed", "output": {"seen": True}})


def traps() -> bytes:
    """Traps at once, in a function with a name."""
    return component("(call $give_up) (i32.const 0)", functions="(func $give_up unreachable)")


def divides_by_zero() -> bytes:
    """Traps by dividing by zero."""
    return component("(i32.div_u (i32.const 1) (i32.const 0))")


def recurses() -> bytes:
    """Calls itself until the stack is used up."""
    return component("(call $deep) (i32.const 0)", functions="(func $deep (call $deep) (call $deep))")


def allocates_for_ever() -> bytes:
    """A memory bomb: takes a MiB after another, by the allocator that every toolchain's guest has, and touches it."""
    take = "(call $cabi_realloc (i32.const 0) (i32.const 0) (i32.const 8) (i32.const 1048576))"
    return component(f"(loop $more (i32.store {take} (i32.const 1)) (br $more)) (i32.const 0)")


def grows_for_ever() -> bytes:
    """Asks for memory for ever and does not care that it gets none."""
    return component("(loop $more (drop (memory.grow (i32.const 16))) (br $more)) (i32.const 0)")


def starts_with(pages: int) -> bytes:
    """Wants so much memory before its first instruction."""
    return component("(i32.const 0)", pages=pages)


def has_two_memories() -> bytes:
    """Brings a second linear memory, for twice the limit."""
    return component("(i32.const 0)", lowered="(core module $more (memory 1)) (core instance (instantiate $more))")


def returns_giant(size: int) -> bytes:
    """Returns ok with a string of so many NUL bytes."""
    return component(returns(0, "(i32.const 4096)", f"(i32.const {size})"), pages=2 + size // 65536)


def requests_giant(size: int) -> bytes:
    """Calls with a request of so many NUL bytes and returns the answer."""
    call = f"(call $http (i32.const 4096) (i32.const {size}) (i32.const 16))"
    return component(f"{call} (i32.const 16)", pages=2 + size // 65536)


def logs_giant(size: int) -> bytes:
    """Logs one line of so many NUL bytes, then traps."""
    call = f"(call $log (i32.const 0) (i32.const 1) (i32.const 4096) (i32.const {size}))"
    return component(f"{call} unreachable", pages=2 + size // 65536)


def returns_wild_pointer() -> bytes:
    """Returns a result that lies outside of its memory."""
    return component("(i32.const 2147483632)")


def returns_bad_utf8() -> bytes:
    """Returns ok with bytes that are no UTF-8."""
    return component("(i32.store8 (i32.const 4096) (i32.const 255))" + returns(0, "(i32.const 4096)", "(i32.const 1)"))


def calls_wasi() -> bytes:
    """Calls an import of wasi."""
    return component(
        "(call $exit (i32.const 1)) (i32.const 0)",
        imports=HOST
        + '(import "wasi:cli/exit@0.2.0" (instance $wasi (export "exit" (func (param "status" (result))))))',
        lowered='(core func $exit (canon lower (func $wasi "exit")))',
        core_imports='(import "env" "exit" (func $exit (param i32)))',
        core_exports='(export "exit" (func $exit))',
    )


def imports_more() -> bytes:
    """Imports an interface that no host has."""
    return component("(i32.const 0)", imports=HOST + '(import "curation:guest/secrets@0.1.0" (instance))')


def imports_more_of_host() -> bytes:
    """Imports a function that the host interface does not have."""
    more = HOST.replace(
        '(export "log"', '(export "read-file" (func (param "path" string) (result string)))\n(export "log"'
    )
    return component("(i32.const 0)", imports=more)


def imports_log_of_another_type() -> bytes:
    """Imports log without its level."""
    text = """
(component
  (import "curation:guest/host@0.1.0" (instance $host (export "log" (func (param "message" string)))))
  (core module $m (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "run") (param i32 i32) (result i32) unreachable))
  (core instance $m (instantiate $m))
  (func (export "run") (param "context" string) (result (result string (error string)))
    (canon lift (core func $m "run") (memory (core memory $m "memory")) (realloc (core func $m "realloc")))))
"""
    return bytes(wat2wasm(text))


def exports_nothing() -> bytes:
    """An empty component."""
    return bytes(wat2wasm("(component)"))


def exports_run_of_another_type() -> bytes:
    """Its run takes nothing and returns a number."""
    text = """
(component
  (core module $m (func (export "run") (result i32) (i32.const 7)))
  (core instance $m (instantiate $m))
  (func (export "run") (result u32) (canon lift (core func $m "run"))))
"""
    return bytes(wat2wasm(text))


def exports_async_run() -> bytes:
    """Its run has the right type but for being async; and there is a start function, as in toolchains' guests."""
    text = """
(component
  (core module $m (memory (export "memory") 1) (func $nothing) (start $nothing)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
    (func (export "callback") (param i32 i32 i32) (result i32) unreachable)
    (func (export "run") (param i32 i32) (result i32) unreachable))
  (core instance $m (instantiate $m))
  (func (export "run") async (param "context" string) (result (result string (error string)))
    (canon lift (core func $m "run") async (callback (core func $m "callback"))
      (memory (core memory $m "memory")) (realloc (core func $m "realloc")))))
"""
    return bytes(wat2wasm(text))


def imports_async_http_call() -> bytes:
    """Imports http-call as an async function."""
    return component(
        "(i32.const 0)", imports=HOST.replace('"http-call" (func (param', '"http-call" (func async (param')
    )


EMPTY_LEAF = "(component $c0)"
CORE_LEAF = "(component $c0 (core module $m) (core instance (instantiate $m)))"
LOGS_AT_START = """
  (core module $early (import "env" "log" (func $log (param i32 i32 i32 i32)))
    (func $start (call $log (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))) (start $start))
  (core instance (instantiate $early (with "env" (instance (export "log" (func $log))))))
"""


def nests_instances(depth: int, *, leaf: str = EMPTY_LEAF, first: str = "") -> bytes:
    """Ten instances of a component that has ten instances of one, and so on: ten to the power of `depth`.

    With wasmtime 50, a depth of 6 is 1.3 KB of WebAssembly, 1.1 MB of artifact, and 187 MiB once it is instantiated.
    """
    text = leaf
    for level in range(1, depth + 1):
        inner = f"(instance (instantiate $c{level - 1}))" * 10
        text = f"(component $c{level} {text} {inner})"
    return component("(i32.const 0)", lowered=f"{first} {text} (instance (instantiate $c{depth}))")


def wants_a_large_table() -> bytes:
    """Brings a table of more elements than any may have."""
    return component(
        "(i32.const 0)", lowered="(core module $t (table 1000000 funcref)) (core instance (instantiate $t))"
    )


def spins_at_start() -> bytes:
    """Loops for ever before anybody calls it."""
    spin = "(core module $s (func $spin (loop $forever (br $forever))) (start $spin)) (core instance (instantiate $s))"
    return component("(i32.const 0)", lowered=spin)


def core_module() -> bytes:
    """A core module with a function named run."""
    return bytes(wat2wasm('(module (func (export "run")))'))


def hard_to_compile(size: int) -> bytes:
    """So many loops in one another over so many locals, whose values the compiler follows through each of them.

    With wasmtime 50, 100 take a second, 400 (7 KB) minutes, and 1500 (25 KB) gigabytes.
    """
    body = "".join(f"(local.set {n} (i32.add (local.get {n}) (i32.const 1)))" for n in range(1, size + 1))
    for _ in range(size):
        body = f"(loop {body} (br_if 0 (local.get 0)))"
    function = f"(func $hard (param i32) (result i32) (local {' '.join(['i32'] * size)}) {body} (local.get 1))"
    return component("(drop (call $hard (i32.const 0))) (i32.const 0)", functions=function)
