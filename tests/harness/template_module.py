"""`modules/template` as its user has it: copied out of the checkout, and built by the operator's own command."""

import shutil
import tempfile
from pathlib import Path

import pytest

from curation.building.build_cache import cache_folder
from curation.building.build_errors import CratesUnavailable
from curation.building.component import kept_component
from curation.building.crate import Crate
from curation.building.rust import Toolchain, find_toolchain
from hack.modules import shipped

SOURCES = shipped.SOURCES / "template"


@pytest.fixture(scope="session")
def toolchain() -> Toolchain:
    """The Rust of this machine."""
    found = find_toolchain()
    if isinstance(found, str):
        pytest.skip(f"modules cannot be built here: {found}")
    return found


@pytest.fixture(scope="session")
def template_module(toolchain: Toolchain) -> bytes:
    """Its component. The first build takes a minute, others some seconds; the user's cache keeps each."""
    return _built(toolchain)


@pytest.fixture(scope="session")
def panicking_module(toolchain: Toolchain) -> bytes:
    """A module whose author has put a panic into the template's submit."""
    first = 'let message = context.input("message")?;'
    panics = 'if !context.job.name.is_empty() { panic!("no rows in {}", context.job.name) }'
    return _built(toolchain, (first, f"{first} {panics}"))


def _built(toolchain: Toolchain, *edits: tuple[str, str]) -> bytes:
    with tempfile.TemporaryDirectory(prefix="curation-template-") as folder:
        copy = Path(folder) / "my-module"
        shutil.copytree(SOURCES, copy)
        manifest = copy / "Cargo.toml"
        named = manifest.read_text(encoding="utf-8").replace("../contract", str(shipped.SOURCES / "contract"))
        manifest.write_text(named, encoding="utf-8")
        library = copy / "src" / "lib.rs"
        text = library.read_text(encoding="utf-8")
        for old, new in edits:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        library.write_text(text, encoding="utf-8")
        try:
            return kept_component(Crate.of(copy), toolchain, cache_folder())
        except CratesUnavailable as error:
            pytest.skip(f"the template's crates cannot be had here: {error}")
