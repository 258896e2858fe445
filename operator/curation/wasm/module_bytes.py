"""The bytes of modules before they are compiled: their digest, their bounds, and those that the operator ships."""

import hashlib
from functools import cache
from importlib import resources

from curation.wasm.module_errors import ModuleLoadError, ModuleReason
from curation.wasm.module_size import MAX_MODULE_BYTES

CONFIG_MAP_BYTES = 1 << 20
"""What the API server lets a ConfigMap hold, all its keys together."""


_WASM_MAGIC = b"\0asm"
_CORE_MODULE = b"\x01\x00\x00\x00"
_COMPONENT = b"\x0d\x00\x01\x00"
_ELF_MAGIC = b"\x7fELF"  # what wasmtime's precompiled artifacts begin with


def digest_of(wasm: bytes) -> str:
    """``sha256:`` and the hexadecimal hash of the bytes."""
    return f"sha256:{hashlib.sha256(wasm).hexdigest()}"


def binary_problem(wasm: bytes) -> str | None:
    """What is wrong with the bytes before anything parses them: only a binary component may reach the compiler.

    wasmtime's own constructor would also take the text format, and its deserializer runs whatever it is given.
    """
    if wasm.startswith(_WASM_MAGIC + _COMPONENT):
        return None
    if wasm.startswith(_WASM_MAGIC + _CORE_MODULE):
        return (
            "this is a core WebAssembly module, not a component: link it with wasm-component-ld (as modules/template "
            "does), build it for the target wasm32-wasip2, or wrap it with `wasm-tools component new`"
        )
    if wasm.startswith(_WASM_MAGIC):
        return f"this is WebAssembly of an unknown version ({wasm[4:8].hex()}): build a component with current tools"
    if wasm.startswith(_ELF_MAGIC):
        return "this is a precompiled artifact; those are never accepted: give the component (.wasm) it was made from"
    return (
        "this is not WebAssembly (it does not begin with \\0asm): give the binary component, not its text or an archive"
    )


def builtin_bytes(name: str) -> bytes:
    """The bytes of a module that the operator ships. Raises ModuleLoadError, naming those there are."""
    names = builtin_names()
    if name not in names:
        shipped = ", ".join(names) or "none"
        raise ModuleLoadError(
            ModuleReason.UNKNOWN_BUILTIN,
            f"there is no builtin module {name!r}; this operator ships: {shipped}; name one of them in "
            "spec.source.builtin, or install a release that ships it",
        )
    return (resources.files("curation.wasm") / "builtins" / f"{name}.wasm").read_bytes()


@cache
def builtin_digest(name: str) -> str:
    """The digest of a module that the operator ships. Raises ModuleLoadError, naming those there are."""
    return digest_of(builtin_bytes(name))


def builtin_names() -> list[str]:
    """Names of the modules that the operator ships, each with its version."""
    folder = resources.files("curation.wasm") / "builtins"
    if not folder.is_dir():
        return []
    return sorted(each.name.removesuffix(".wasm") for each in folder.iterdir() if each.name.endswith(".wasm"))


def check_size(wasm: bytes) -> None:
    """Raises ModuleLoadError for more bytes than a module may have."""
    if len(wasm) > MAX_MODULE_BYTES:
        message = (
            f"the module has {len(wasm)} bytes, at most {MAX_MODULE_BYTES} are accepted: strip it, optimize for size"
        )
        raise ModuleLoadError(ModuleReason.TOO_LARGE, message)


def check_binary(wasm: bytes) -> None:
    """Raises ModuleLoadError for what is no binary component at first sight."""
    problem = binary_problem(wasm)
    if problem is not None:
        raise ModuleLoadError(ModuleReason.INVALID, problem)
