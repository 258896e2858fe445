"""Opening a compiled module for a run."""

from pathlib import Path

from wasmtime import Engine
from wasmtime.component import Component


def open_artifact(engine: Engine, path: Path) -> Component:
    """The module, for one run in an engine of its own. Raises WasmtimeError if the artifact is gone, or damaged."""
    return Component.deserialize_file(engine, str(path))
