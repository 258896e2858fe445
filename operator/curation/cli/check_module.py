"""`curation-operator check`: whether a file is a module, and the manifest that makes it one."""

import sys
from pathlib import Path
from typing import Any, Final

import click
from pydantic import ValidationError

from curation.api.module import OCISource
from curation.api.names import API_VERSION
from curation.cli.kept_modules import kept_modules
from curation.cli.options import ANSWER_FORMATS, output_option
from curation.cli.output import note, print_document
from curation.cli.run_types import OBJECT
from curation.cli.text import safe
from curation.wasm.limits import size_text
from curation.wasm.module_bytes import CONFIG_MAP_BYTES, digest_of
from curation.wasm.module_size import MAX_MODULE_BYTES
from curation.wasm.store import Examined, examine_module

UNFIT: Final = 1
_NOT_YET: Final = "0" * 64
_DEFAULT_MEMORY: Final = 64 << 20


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--manifest",
    "name",
    metavar="NAME",
    type=OBJECT,
    help="Print a CurationModule of this name for FILE, to be pasted; all else goes to stderr.",
)
@click.option(
    "--oci",
    "artifact",
    metavar="REPOSITORY@DIGEST",
    callback=lambda _context, _parameter, value: _artifact(value),
    help="With --manifest: the artifact that FILE was pushed as, such as registry.example/team/name@sha256:...",
)
@output_option(ANSWER_FORMATS)
def check(file: Path, name: str | None, artifact: OCISource | None, output: str | None) -> None:
    """Say whether FILE fits the module contract, and why not. Prints the digest for spec.digest if it fits.

    Exit codes: 0 it fits, 1 it does not, 2 bad usage.
    """
    if name is not None and output == "json":
        raise click.UsageError("--manifest prints YAML; leave -o json out")
    if artifact is not None and name is None:
        raise click.UsageError("--oci is for the manifest: give --manifest NAME too")
    with file.open("rb") as opened:
        wasm = opened.read(MAX_MODULE_BYTES + 1)
    found = examine_module(wasm, kept_modules())
    warnings = list(_warnings(wasm, found))
    if name is not None:
        _say(file, wasm, found, warnings, to_stderr=True)
        if not found.problems:
            print_document(_manifest(name, wasm, found, artifact), "yaml")
    elif output:
        print_document(_document(file, wasm, found, warnings), output)
    else:
        _say(file, wasm, found, warnings)
    if found.problems:
        sys.exit(UNFIT)


def _warnings(wasm: bytes, found: Examined) -> list[str]:
    """What a module that fits may still fail of."""
    if found.problems:
        return []
    warnings = []
    if found.trapping:
        warnings.append(
            f"it imports {', '.join(found.trapping)}, of which every call traps: build it without WASI (JavaScript: "
            "disableFeatures; Python: --stub-wasi; Rust: the target wasm32-unknown-unknown), or never call them"
        )
    if len(wasm) > CONFIG_MAP_BYTES:
        warnings.append(
            f"no ConfigMap can hold it: {CONFIG_MAP_BYTES} bytes are the limit; push it to a registry (source.oci), or "
            "strip it"
        )
    if found.start_bytes > _DEFAULT_MEMORY:
        warnings.append(f"it begins with {size_text(found.start_bytes)} of memory: raise spec.limits.memory")
    return warnings


def _say(file: Path, wasm: bytes, found: Examined, warnings: list[str], *, to_stderr: bool = False) -> None:
    for problem in found.problems:
        note(f"{file}: {safe(problem)}")
    if not found.problems:
        lines = f"{file}: fits the module contract\n{len(wasm)} bytes\ndigest: {digest_of(wasm)}"
        click.echo(safe(lines, multiline=True), err=to_stderr)
    for warning in warnings:
        note(f"{file}: {safe(warning)}")


def _document(file: Path, wasm: bytes, found: Examined, warnings: list[str]) -> dict[str, Any]:
    return {
        "file": str(file),
        "fits": not found.problems,
        "problems": found.problems,
        "warnings": warnings,
        "sizeBytes": len(wasm),
        "digest": digest_of(wasm),
        "startBytes": found.start_bytes,
        "trappingImports": list(found.trapping),
    }


def _artifact(text: str | None) -> OCISource | None:
    if text is None:
        return None
    ref, _, digest = text.rpartition("@")
    try:
        return OCISource(ref=ref, digest=digest)
    except ValidationError:
        raise click.BadParameter(
            f"{safe(text)[:200]!r} is not REPOSITORY@DIGEST, without a scheme and a tag, such as "
            "registry.example/team/name@sha256:..."
        ) from None


def _manifest(name: str, wasm: bytes, found: Examined, artifact: OCISource | None) -> dict[str, Any]:
    """A CurationModule; what only its author knows is left to be filled in."""
    source: dict[str, Any] = {"configMap": {"name": name, "key": "module.wasm"}}
    if artifact is not None:
        source = {"oci": {"ref": artifact.ref, "digest": artifact.digest}}
    elif len(wasm) > CONFIG_MAP_BYTES:
        source = {"oci": {"ref": f"registry.example/{name}", "digest": f"sha256:{_NOT_YET}"}}
    spec: dict[str, Any] = {"source": source, "digest": digest_of(wasm)}
    if found.start_bytes > _DEFAULT_MEMORY // 2:
        spec["limits"] = {"memory": f"{2 * (found.start_bytes >> 20) + 2}Mi"}
    return {"apiVersion": API_VERSION, "kind": "CurationModule", "metadata": {"name": name}, "spec": spec}
