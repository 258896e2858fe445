"""The shipped components are what their sources build to, and tell nothing of the machine that built them.

The first build of a machine takes half a minute and fetches crates; without Rust, or with another one than the
components were built with, the comparison is skipped.
"""

import hashlib
import json
from pathlib import Path

import pytest

from hack import modules

MODULES = modules.modules()
IDS = [module.name for module in MODULES]


@pytest.fixture
def toolchain() -> modules.Toolchain:
    found = modules.find_toolchain()
    if isinstance(found, str):
        pytest.skip(f"the modules cannot be built here: {found}")
    return found


def test_the_shipped_module_is_among_those_built() -> None:
    assert "build-session-message-v1" in {module.builtin for module in MODULES}


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_the_kept_component_is_the_one_recorded_and_small(module: modules.Module) -> None:
    component = module.component.read_bytes()
    assert hashlib.sha256(component).hexdigest() == module.sha256
    assert len(component) <= 80_000


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_the_kept_component_names_no_folder_and_no_registry(module: modules.Module) -> None:
    component = module.component.read_bytes()
    assert modules.traces(component, [Path.home(), modules.ROOT, modules.cache_folder()]) == []
    # What a build without the remapping leaves in the bytes.
    for trace in (b"/home/", b"/root/", b"/work/", b"/tmp/", b"/Users/", b".io-", b"registry", b"toolchains"):
        assert trace not in component


@pytest.mark.parametrize("named", [b"/root/me/x.rs", b"x/registry/src/y", b"/a/.cargo/z", b"/b/.rustup/z"])
def test_a_trace_of_the_machine_is_found(named: bytes) -> None:
    assert modules.traces(b"\0asm" + named + b"\0", [Path("/root/me")]) != []


def test_a_root_folder_as_home_is_no_trace() -> None:
    assert modules.traces(b"/rustc/abc/library", [Path("/")]) == []


def test_the_sources_build_to_the_kept_bytes_in_an_empty_folder(toolchain: modules.Toolchain, tmp_path: Path) -> None:
    if reason := modules.check(tmp_path / "elsewhere"):
        pytest.skip(f"not compared: {reason}")
    # Not the lock, and no target folder: the build leaves nothing beside the sources.
    for module in MODULES:
        crate = modules.SOURCES / module.name
        assert not (crate / "target").exists()


def test_a_component_that_is_not_the_recorded_one_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(modules, "BUILTINS", tmp_path)
    for module in MODULES:
        (tmp_path / f"{module.builtin}.wasm").write_bytes(b"\0asm another")
    with pytest.raises(modules.BuildError, match=r"build-session-message-v1\.wasm is not the one recorded"):
        modules.check()


def test_another_compiler_than_the_recorded_one_is_a_reason_to_skip(
    toolchain: modules.Toolchain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    crate = tmp_path / "build-session-message"
    crate.mkdir()
    record = json.loads((modules.SOURCES / crate.name / "build.json").read_text())
    (crate / "build.json").write_text(json.dumps({**record, "rustc": "1.0.0 (abcdef)"}))
    monkeypatch.setattr(modules, "SOURCES", tmp_path)
    reason = modules.check()
    assert reason == f"build-session-message was built by rustc 1.0.0 (abcdef), and here is {toolchain.version}"


def test_without_rust_a_build_fails_and_a_check_says_why_it_does_not_compare(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert modules.main(["check"]) == 0
    assert "not compared, since cargo and rustc are not on the PATH" in capsys.readouterr().out
    assert modules.main(["build"]) == 1
    assert "cargo and rustc are not on the PATH" in capsys.readouterr().err
