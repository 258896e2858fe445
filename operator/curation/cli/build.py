"""`curation-operator build`: a module from the folder of its crate."""

import sys
from pathlib import Path

import click

from curation.building.build_cache import cache_folder
from curation.building.build_errors import BuildError
from curation.building.component import build_component
from curation.building.crate import Crate
from curation.building.rust import find_toolchain
from curation.cli.text import safe
from curation.wasm.module_bytes import digest_of


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def build(folder: Path, out: Path) -> None:
    """Build the module of the crate in FOLDER into the file OUT, such as my-module.wasm. Needs Rust.

    The same sources and compiler give the same bytes in any folder, and the bytes name no folder of this machine.
    """
    try:
        component = _build(folder)
        out.write_bytes(component)
    except BuildError as error:
        click.echo(f"curation-operator: {safe(str(error))}", err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"curation-operator: cannot write {safe(str(out))}: {error.strerror}", err=True)
        sys.exit(1)
    click.echo(f"{safe(str(out))}: {len(component)} bytes, {digest_of(component)}")


def _build(folder: Path) -> bytes:
    crate = Crate.of(folder)
    toolchain = find_toolchain()
    if isinstance(toolchain, str):
        raise BuildError(f"cannot build {folder}: {toolchain}")
    return build_component(crate, toolchain, cache_folder())
