"""The process that has the cluster's token loads neither Cedar nor WebAssembly: its children do."""

import subprocess
import sys

_LOADED = """
import sys
import curation.cli.operator, curation.reconciler.process.lifetime, curation.reconciler.process.assembly
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"cedarpy", "wasmtime"}))
"""


def test_the_operator_imports_neither_cedarpy_nor_wasmtime() -> None:
    done = subprocess.run([sys.executable, "-c", _LOADED], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
