"""The shipped components are what their sources build to, and hold no trace of the machine that built them.

The first build of these sources takes half a minute and fetches crates; its result is kept in the user's cache. Without
Rust, or with another one than the components were built with, the comparison is skipped.
"""

import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from curation.building.build_errors import BuildError, CratesUnavailable
from curation.building.component import traces
from curation.building.crate import Crate
from curation.building.rust import Toolchain
from curation.cli.operator import main as operator
from curation.wasm.module_bytes import builtin_names
from hack.modules import shipped
from hack.modules.__main__ import main
from hack.modules.pins import unpinned

MODULES = shipped.modules()
IDS = [module.name for module in MODULES]


def test_the_shipped_modules_are_those_built() -> None:
    assert {module.builtin for module in MODULES} == {"a2a-v1", "build-session-message-v1"} == set(builtin_names())


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_the_kept_component_is_the_one_recorded_and_small(module: shipped.Module) -> None:
    component = module.component.read_bytes()
    assert hashlib.sha256(component).hexdigest() == module.sha256
    assert len(component) <= 110_000


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_the_kept_component_names_no_folder_and_no_registry(module: shipped.Module) -> None:
    component = module.component.read_bytes()
    assert shipped.traces_of(component) == []
    # What a build without the remapping leaves in the bytes.
    for trace in (b"/home/", b"/root/", b"/work/", b"/tmp/", b"/Users/", b".io-", b"registry", b"toolchains"):
        assert trace not in component


@pytest.mark.parametrize("named", [b"/root/me/x.rs", b"x/registry/src/y", b"/a/.cargo/z", b"/b/.rustup/z"])
def test_a_trace_of_the_machine_is_found(named: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/root/me")
    assert shipped.traces_of(b"\0asm" + named + b"\0") != []


def test_a_root_folder_as_home_is_no_trace() -> None:
    assert traces(b"/rustc/abc/library", [Path("/")]) == []


def test_the_sources_build_to_the_kept_bytes_in_an_empty_folder(toolchain: Toolchain) -> None:
    if reason := shipped.check():
        pytest.skip(f"not compared: {reason}")
    # The build leaves nothing beside the sources.
    for module in MODULES:
        assert not (module.crate.folder / "target").exists()


@pytest.mark.parametrize("module", MODULES, ids=IDS)
def test_the_manifest_pins_every_crate_that_is_compiled(toolchain: Toolchain, module: shipped.Module) -> None:
    try:
        assert unpinned(module.crate) == []
    except CratesUnavailable as error:
        pytest.skip(f"not compared: {error}")


def test_a_component_that_is_not_the_recorded_one_fails_the_check(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shipped, "BUILTINS", tmp_path)
    for module in MODULES:
        (tmp_path / f"{module.builtin}.wasm").write_bytes(b"\0asm another")
    with pytest.raises(BuildError, match=r"a2a-v1\.wasm is not the one recorded"):
        shipped.check()


def test_another_compiler_than_the_recorded_one_is_a_reason_to_skip(
    toolchain: Toolchain, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    crate = tmp_path / "build-session-message"
    crate.mkdir()
    record = json.loads((shipped.SOURCES / crate.name / "build.json").read_text())
    (crate / "build.json").write_text(json.dumps({**record, "rustc": "1.0.0 (abcdef)"}))
    monkeypatch.setattr(shipped, "SOURCES", tmp_path)
    reason = shipped.check()
    assert reason == f"build-session-message was built by rustc 1.0.0 (abcdef), and here is {toolchain.version}"


def test_without_rust_a_build_fails_and_a_check_says_why_it_does_not_compare(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["check"]) == 0
    assert "not compared, since cargo and rustc are not on the PATH" in capsys.readouterr().out
    assert main(["build"]) == 1
    assert "cargo and rustc are not on the PATH" in capsys.readouterr().err
    ended = CliRunner().invoke(operator, ["build", str(shipped.SOURCES / "template"), str(tmp_path / "out.wasm")])
    assert ended.exit_code == 1
    assert "cargo and rustc are not on the PATH" in ended.stderr


def crate(folder: Path, manifest: str) -> Path:
    folder.mkdir()
    (folder / "Cargo.toml").write_text(manifest)
    return folder


def test_a_folder_that_makes_no_component_is_refused_with_the_remedy(tmp_path: Path) -> None:
    out = tmp_path / "out.wasm"
    package = '[package]\nname = "x"\n'
    copied = crate(tmp_path / "copied", f'{package}[lib]\ncrate-type = ["cdylib"]\n')
    (copied / "wit").symlink_to("../wit")
    for folder, said in (
        (tmp_path / "none", "none has no Cargo.toml: give the folder of a module's crate"),
        (crate(tmp_path / "broken", "[package"), "Cargo.toml is no manifest of a package"),
        (crate(tmp_path / "nameless", "[package]\n"), "Cargo.toml is no manifest of a package: KeyError('name')"),
        (crate(tmp_path / "binary", package), 'makes no component: put crate-type = ["cdylib"] into its [lib]'),
        (copied, "wit is a link that leads nowhere: copy the folder again with `cp -rL`"),
    ):
        ended = CliRunner().invoke(operator, ["build", str(folder), str(out)])
        assert ended.exit_code == 1
        assert said in ended.stderr
    assert not out.exists()


def test_the_digest_of_a_crate_is_that_of_its_sources_alone(tmp_path: Path) -> None:
    manifest = '[package]\nname = "x"\n[lib]\ncrate-type = ["cdylib"]\n'
    one, other = crate(tmp_path / "one", manifest), crate(tmp_path / "other", manifest)
    (other / "target").mkdir()
    (other / "target" / "x.wasm").write_bytes(b"built")
    assert Crate.of(one).digest() == Crate.of(other).digest()
    (other / "Cargo.lock").write_text("version = 4\n")
    assert Crate.of(one).digest() == Crate.of(other, ignore_lock=True).digest()
    assert Crate.of(one).digest() != Crate.of(other).digest()


def test_a_folder_without_a_file_to_write_is_bad_usage() -> None:
    ended = CliRunner().invoke(operator, ["build", str(shipped.SOURCES / "template")])
    assert ended.exit_code == 2
    assert "Missing argument 'OUT'" in ended.stderr
