"""Builds guests: a component around a few WAT instructions, or around a script of calls and a result."""

import json
from typing import Any, Self

from wasmtime import wat2wasm

HOST = """
  (import "curation:guest/host@0.1.0" (instance $host
    (export "http-call" (func (param "request" string) (result (result string (error string)))))
    (export "log" (func (param "level" string) (param "message" string)))))
"""

# The allocator is named as wit-bindgen names it, and gives up as it does: by a trap.
FRAME = """
(component
  {imports}
  (core module $libc
    (memory (export "memory") {pages})
    (global $top (mut i32) (i32.const {heap}))
    (func $cabi_realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
      (local $p i32)
      (local.set $p (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
      (global.set $top (i32.add (local.get $p) (local.get 3)))
      (block $ok
        (br_if $ok (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
        (br_if $ok (i32.ge_s
          (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get 3) (i32.const 65536)))) (i32.const 0)))
        unreachable)
      (local.get $p)))
  (core instance $libc (instantiate $libc))
  (core func $http (canon lower (func $host "http-call")
    (memory (core memory $libc "memory")) (realloc (core func $libc "cabi_realloc"))))
  (core func $log (canon lower (func $host "log") (memory (core memory $libc "memory"))))
  {lowered}
  (core module $main
    (import "env" "memory" (memory 1))
    (import "env" "http" (func $http (param i32 i32 i32)))
    (import "env" "log" (func $log (param i32 i32 i32 i32)))
    (import "env" "cabi_realloc" (func $cabi_realloc (param i32 i32 i32 i32) (result i32)))
    {core_imports}
    {data}
    {functions}
    (func $run (export "run") (param $context i32) (param $length i32) (result i32)
      {body}))
  (core instance $main (instantiate $main (with "env" (instance
    (export "memory" (memory $libc "memory"))
    (export "http" (func $http)) (export "log" (func $log))
    (export "cabi_realloc" (func $libc "cabi_realloc"))
    {core_exports}))))
  (func (export "run") (param "context" string) (result (result string (error string)))
    (canon lift (core func $main "run")
      (memory (core memory $libc "memory")) (realloc (core func $libc "cabi_realloc")))))
"""

RETURN_AREA = 16
"""Where calls put their answers: a result<string, string> is a tag, a pointer and a length."""
DATA = 64


def component(body: str, *, functions: str = "", pages: int = 1, **parts: str) -> bytes:
    """A guest whose `run` is the instructions; locals $context and $length hold its argument."""
    known = {"imports": HOST, "lowered": "", "core_imports": "", "core_exports": "", "data": "", "heap": "4096"}
    text = FRAME.format(**{**known, **parts}, functions=functions, body=body, pages=pages)
    return bytes(wat2wasm(text))


def returns(tag: int, pointer: str, length: str) -> str:
    """Instructions that return ok (0) or error (1) with a string."""
    area = RETURN_AREA
    return f"""
      (i32.store8 (i32.const {area}) (i32.const {tag}))
      (i32.store (i32.const {area + 4}) {pointer}) (i32.store (i32.const {area + 8}) {length})
      (i32.const {area})"""


class Script:
    """A guest that does one thing after another, whatever the answers are, and then returns."""

    def __init__(self) -> None:
        self._data = b""
        self._steps: list[str] = []
        self._functions: list[str] = []

    def call(self, request: Any, *, times: int = 1) -> Self:
        """Calls http-call with a document, or with a text that is none."""
        pointer, length = self._text(request if isinstance(request, str) else json.dumps(request))
        call = f"(call $http (i32.const {pointer}) (i32.const {length}) (i32.const {RETURN_AREA}))"
        return self.repeat(call, times)

    def on(self, trigger: str, instructions: str) -> Self:
        """Does more instructions when it runs for this trigger: the argument of run begins with it."""
        letter = f"(i32.load8_u offset=12 (local.get $context)) (i32.const {ord(trigger[0])})"
        self._steps.append(f"(if (i32.eq {letter}) (then {instructions}))")
        return self

    def returning(self, result: Any) -> str:
        """Instructions that end it with ok and a document."""
        pointer, length = self._text(json.dumps(result))
        return f"(return {returns(0, f'(i32.const {pointer})', f'(i32.const {length})')})"

    def log(self, message: str, *, level: str = "info", times: int = 1) -> Self:
        """Logs a line."""
        where, what = self._text(level), self._text(message)
        call = f"(call $log {' '.join(f'(i32.const {number})' for number in (*where, *what))})"
        return self.repeat(call, times)

    def log_answer(self) -> Self:
        """Logs what the last call answered, ok or error."""
        return self._log_at(f"(i32.load (i32.const {RETURN_AREA + 4})) (i32.load (i32.const {RETURN_AREA + 8}))")

    def log_context(self) -> Self:
        """Logs the argument of run."""
        return self._log_at("(local.get $context) (local.get $length)")

    def _log_at(self, where: str) -> Self:
        pointer, length = self._text("info")
        self._steps.append(f"(call $log (i32.const {pointer}) (i32.const {length}) {where})")
        return self

    def repeat(self, instructions: str, times: int = 1) -> Self:
        """Runs instructions that leave nothing on the stack, so many times."""
        name = f"$step{len(self._functions)}"
        self._functions.append(f"""
    (func {name} (local $left i32) (local.set $left (i32.const {times}))
      (loop $again {instructions}
        (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1))))))""")
        self._steps.append(f"(call {name})")
        return self

    def answer(self) -> bytes:
        """Returns what its last call answered, ok or error."""
        return self._build(f"(i32.const {RETURN_AREA})")

    def ok(self, result: Any) -> bytes:
        """Returns ok with a document, or with a text that is none."""
        return self._result(0, result)

    def error(self, error: Any) -> bytes:
        """Returns an error with a document, or with a text that is none."""
        return self._result(1, error)

    def ends_with(self, instructions: str) -> bytes:
        """Ends with instructions that return or never do."""
        return self._build(instructions)

    def _result(self, tag: int, document: Any) -> bytes:
        pointer, length = self._text(document if isinstance(document, str) else json.dumps(document))
        return self._build(returns(tag, f"(i32.const {pointer})", f"(i32.const {length})"))

    def _text(self, text: str) -> tuple[int, int]:
        pointer = DATA + len(self._data)
        raw = text.encode()
        self._data += raw
        return pointer, len(raw)

    def _build(self, end: str) -> bytes:
        escaped = "".join(f"\\{byte:02x}" for byte in self._data)
        heap = DATA + len(self._data)
        return component(
            "\n".join([*self._steps, end]),
            functions="".join(self._functions),
            data=f'(data (i32.const {DATA}) "{escaped}")' if self._data else "",
            heap=str(heap),
            pages=1 + heap // 65536,
        )
