"""What a compiled artifact depends on besides its module."""

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Final

from curation.wasm.engine_settings import SETTINGS, compile_target

_CPUINFO: Final = Path("/proc/cpuinfo")
_FEATURES: Final = ("flags", "Features", "isa")
"""How Linux names what the processor can do: x86, Arm, RISC-V."""


def artifact_key() -> str:
    """Identifies what a compiled artifact depends on besides the module: wasmtime, our settings, the processor.

    Where it is compiled for one very machine it may use what its processor has, and a folder may move to another node.
    """
    machine = f"{platform.system()}|{platform.machine()}|{_processor()}"
    text = f"{version('wasmtime')}|{machine}|{compile_target()}|{sorted(SETTINGS.items())!r}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _processor() -> str:
    """What the processor can do, where the system says so."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return platform.processor()
    found = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in found if name.strip() in _FEATURES), "")
