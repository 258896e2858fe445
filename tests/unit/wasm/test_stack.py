"""A guest as deep in its stack as it may be calls the host, in a thread with the stack that workers give."""

import threading
from collections.abc import Callable

from pydantic import TypeAdapter
from wasmtime import Func, FuncType, Instance, Module, Store, Trap, WasmtimeError, wat2wasm

from curation.wasm.engine import new_engine, new_store
from curation.wasm.limits import Limits
from curation.workers.worker import THREAD_STACK_BYTES

NESTED = '{"a":' * 120 + "1" + "}" * 120
DEEP = """(module
  (import "" "host" (func $host))
  (func $deep (export "deep") (param i32)
    (if (local.get 0) (then (call $deep (i32.sub (local.get 0) (i32.const 1)))) (else (call $host)))))"""


def in_a_thread(do: Callable[[], None]) -> None:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            do()
        except BaseException as error:
            errors.append(error)

    before = threading.stack_size(THREAD_STACK_BYTES)
    try:
        thread = threading.Thread(target=run)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    if errors:
        raise errors[0]


def test_at_the_end_of_a_guests_stack_there_is_room_for_what_the_host_does() -> None:
    called: list[int] = []
    ended: set[str] = set()
    document = TypeAdapter(dict[str, object])

    def host() -> None:
        document.validate_json(NESTED)
        called.append(len(repr(document.validate_json(NESTED))))

    def deepest() -> None:
        with new_engine() as engine:
            module = Module(engine, bytes(wat2wasm(DEEP)))

            def fits(depth: int) -> bool:
                store: Store = new_store(engine, Limits())
                try:
                    instance = Instance(store, module, [Func(store, FuncType([], []), host)])
                    deep = instance.exports(store)["deep"]
                    assert isinstance(deep, Func)
                    deep(store, depth)
                except (Trap, WasmtimeError) as error:
                    ended.add(str(error).rpartition("wasm trap: ")[2].strip())
                    return False
                finally:
                    store.close()
                return True

            least, most = 0, 1 << 20
            while most - least > 1:
                middle = (least + most) // 2
                least, most = (middle, most) if fits(middle) else (least, middle)
            assert least > 1000
            assert fits(least)

    in_a_thread(deepest)
    assert called
    assert ended == {"call stack exhausted"}
