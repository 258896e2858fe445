"""The process with the cluster's token loads neither Cedar nor WebAssembly; guest hosts load little but WebAssembly."""

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


def test_the_template_of_guest_hosts_has_no_models_no_policies_no_client_and_no_event_loop() -> None:
    code = "import sys, curation.guests.template; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "wasmtime" in loaded
    assert not loaded & {"pydantic", "cedarpy", "aiohttp", "uvloop", "ssl", "kopf", "asyncio", "http", "email", "yaml"}


def test_a_guests_pod_begins_with_little_and_its_carrier_loads_neither_models_nor_the_cluster() -> None:
    code = "import sys, {}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    for module, never in (
        ("curation.cli.entry, curation.pods.first", {"asyncio", "ssl", "click", "wasmtime", "pydantic", "logging"}),
        ("curation.pods.carrier", {"click", "wasmtime", "pydantic", "kubernetes", "aiohttp", "cedarpy", "uvloop"}),
    ):
        done = subprocess.run([sys.executable, "-c", code.format(module)], capture_output=True, text=True, check=True)
        assert not set(done.stdout.split()) & never, module
