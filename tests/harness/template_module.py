"""`modules/template` as its user has it: copied out of the checkout, and built from nothing."""

import shutil
import tempfile
from pathlib import Path

import pytest

from curation.building.build_errors import CratesUnavailable
from curation.building.component import Crate, kept_component
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
    """Its component. The first build takes a minute; the user's cache keeps it for these sources and this Rust."""
    with tempfile.TemporaryDirectory(prefix="curation-template-") as folder:
        copy = Path(folder) / "my-module"
        shutil.copytree(SOURCES, copy)
        try:
            return kept_component(Crate.of(copy), toolchain)
        except CratesUnavailable as error:
            pytest.skip(f"the template's crates cannot be had here: {error}")
