"""Whether a component fits the world `curation:guest@0.1.0`, to the letter, and if not, what is wrong and what helps.

wasmtime links by name and would find a wrong type only when a run starts; a job would then fail where the module
should have been refused. What the types do not say (`async`) is found by `store`, which links and instantiates it.
"""

from collections.abc import Iterator
from typing import Any

from wasmtime import Engine
from wasmtime.component import Component, ComponentInstanceType, ComponentType, FuncType, ResultType, String

HOST_INTERFACE = "curation:guest/host@0.1.0"
HTTP_CALL = "http-call"
LOG = "log"
RUN = "run"

_WASI = "wasi:"

_HOST_FUNCTIONS = {
    HTTP_CALL: "func(request: string) -> result<string, string>",
    LOG: "func(level: string, message: string)",
}
_RUN_TYPE = "func(context: string) -> result<string, string>"
_WORLD = "build it from the world in modules/wit/curation.wit"


def abi_problems(engine: Engine, component: Component) -> list[str]:
    """What keeps a compiled component from being a guest, one sentence each; empty if it is one."""
    kind = component.type
    return [*_import_problems(engine, kind), *_export_problems(engine, kind)]


def trapping_imports(engine: Engine, component: Component) -> list[str]:
    """Interfaces of WASI that a component imports: it fits, and a run traps when it calls one of their functions."""
    return sorted(name for name in component.type.imports(engine) if name.startswith(_WASI))


def _import_problems(engine: Engine, component: ComponentType) -> Iterator[str]:
    for name, extern in component.imports(engine).items():
        item = extern.ty
        if name.startswith(_WASI):
            continue  # linked as traps
        if name != HOST_INTERFACE:
            yield (
                f"unknown import {name!r}: a module may import only {HOST_INTERFACE} (and wasi:*, whose functions trap "
                "when called); check the package name and version in its WIT"
            )
        elif not isinstance(item, ComponentInstanceType):
            yield f"import {name!r} must be the interface host, not {_describe(item)}"
        else:
            for function, found in item.exports(engine).items():
                expected = _HOST_FUNCTIONS.get(function)
                actual = _describe(found.ty)
                if expected is None:
                    known = " and ".join(_HOST_FUNCTIONS)
                    yield f"unknown import {name}#{function}: the interface has only {known}: {_WORLD}"
                elif actual != expected:
                    yield f"import {name}#{function} must be `{expected}`, not `{actual}`: {_WORLD}"


def _export_problems(engine: Engine, component: ComponentType) -> Iterator[str]:
    exports = component.exports(engine)
    if RUN not in exports:
        others = ", ".join(sorted(exports)) or "nothing"
        yield f"it must export {RUN}: `{_RUN_TYPE}`; it exports {others}: {_WORLD}"
        return
    actual = _describe(exports[RUN].ty)
    if actual != _RUN_TYPE:
        yield f"export {RUN} must be `{_RUN_TYPE}`, not `{actual}`: {_WORLD}"


def _describe(item: Any) -> str:
    """The WIT text of a function type; for anything else its kind. Equal text is an equal type for our functions."""
    if isinstance(item, FuncType):
        params = ", ".join(f"{name}: {_type_text(kind)}" for name, kind in item.params)
        result = item.result
        return f"func({params})" if result is None else f"func({params}) -> {_type_text(result)}"
    return type(item).__name__.removesuffix("Type").lower() or "something else"


def _type_text(kind: Any) -> str:
    if isinstance(kind, String):
        return "string"
    if isinstance(kind, ResultType):
        return f"result<{_type_text(kind.ok) if kind.ok else '_'}, {_type_text(kind.err) if kind.err else '_'}>"
    return type(kind).__name__.removesuffix("Type").lower()
