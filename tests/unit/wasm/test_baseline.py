"""Artifacts use what every processor of their kind has: one that is made on one node opens on all others."""

import platform
import re
from pathlib import Path

import pytest
from wasmtime import Engine, Func, Instance, Module, Store, wat2wasm
from wasmtime.component import Component

from curation.wasm.engine import compiling_engine, new_engine
from curation.wasm.engine_settings import compile_target
from curation.wasm.module_bytes import digest_of
from curation.wasm.store import ModuleStore
from tests.guests.wat import Script

pytestmark = pytest.mark.skipif(compile_target() is None, reason="compiled for the very machine here")

# What x86-64 has had one after another: POPCNT, LZCNT, BMI, SSE4.1 to round, SSSE3 to shuffle, AVX.
MODULE = bytes(
    wat2wasm("""(module
  (func (export "count") (param i64) (result i64)
    (i64.add (i64.popcnt (local.get 0)) (i64.add (i64.clz (local.get 0)) (i64.ctz (local.get 0)))))
  (func (export "round") (param f64) (result f64)
    (f64.add (f64.ceil (local.get 0)) (f64.nearest (local.get 0))))
  (func (export "shuffle") (param i64) (result i64)
    (i64x2.extract_lane 0 (i8x16.swizzle (i64x2.splat (local.get 0))
      (v128.const i8x16 7 6 5 4 3 2 1 0 7 6 5 4 3 2 1 0))))
  (func (export "lanes") (param i32) (result i32)
    (i32x4.extract_lane 1 (i32x4.mul (i32x4.splat (local.get 0)) (i32x4.max_s (i32x4.splat (i32.const 3))
      (i32x4.splat (local.get 0))))))
  (func (export "ceilings") (param f32) (result f32)
    (f32x4.extract_lane 2 (f32x4.ceil (f32x4.mul (f32x4.splat (local.get 0)) (f32x4.splat (f32.const 1.5)))))))""")
)
CALLS = [("count", 0xF0), ("round", 2.5), ("shuffle", 0x0102030405060708), ("lanes", 7), ("ceilings", 1.25)]
POPCNT = re.compile(rb"\xf3[\x48-\x4f]\x0f\xb8")


def made(engine: Engine) -> bytes:
    return bytes(Module(engine, MODULE).serialize())


def results(artifact: bytes) -> list[object]:
    with new_engine() as engine:
        store = Store(engine)
        store.set_epoch_deadline(1)
        exports = Instance(store, Module.deserialize(engine, artifact), []).exports(store)
        found: list[object] = []
        for name, argument in CALLS:
            function = exports[name]
            assert isinstance(function, Func)
            found.append(function(store, argument))
        return found


def test_what_is_compiled_for_every_processor_computes_what_is_compiled_for_this_one_does() -> None:
    with compiling_engine() as every, new_engine() as own:
        assert results(made(every)) == results(made(own)) == [64, 5.0, 0x0807060504030201, 49, 2.0]


async def test_a_module_is_compiled_so_and_no_instruction_is_used_that_some_processors_lack(tmp_path: Path) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("of another processor the bytes are not known")
    wasm = Script().ends_with("(i32.wrap_i64 (i64.popcnt (i64.load (local.get $context))))")
    with new_engine() as engine, Component(engine, wasm) as component:
        if not POPCNT.search(bytes(component.serialize())):
            pytest.skip("this processor lacks it")
    store = ModuleStore(tmp_path)

    async def fetch() -> bytes:
        return wasm

    loaded = await store.load(digest_of(wasm), fetch, "ns")
    assert not POPCNT.search(loaded.path.read_bytes())
    await store.close()
