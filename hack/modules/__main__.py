"""`python -m hack.modules build [FOLDER OUT]` and `python -m hack.modules check`."""

import argparse
import hashlib
import sys
from pathlib import Path

import hack.modules
from hack.modules import shipped
from hack.modules.cache import cache_folder
from hack.modules.component import Crate, build_component
from hack.modules.errors import BuildError
from hack.modules.rust import find_toolchain


def main(arguments: list[str] | None = None) -> int:
    """The command line: 0 when all is well or cannot be compared, 1 when not."""
    summary = (hack.modules.__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m hack.modules", description=summary)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build the shipped modules, or one of your own")
    build.add_argument(
        "folder", type=Path, nargs="?", metavar="FOLDER", help="a module's crate; the shipped ones without"
    )
    build.add_argument("out", type=Path, nargs="?", metavar="OUT", help="the component's file, such as my-module.wasm")
    commands.add_parser("check", help="compare the shipped modules with what their sources build to")
    asked = parser.parse_args(arguments)
    try:
        if asked.command == "check":
            _check()
        elif asked.folder is None:
            shipped.build()
        elif asked.out is None:
            parser.error("build FOLDER needs OUT, the file to write, such as my-module.wasm")
        else:
            _build(asked.folder, asked.out)
    except BuildError as error:
        print(f"modules: {error}", file=sys.stderr)
        return 1
    return 0


def _check() -> None:
    reason = shipped.check()
    told = "the sources build to the bytes that are kept" if reason is None else f"not compared, since {reason}"
    print(f"modules: {told}")


def _build(folder: Path, out: Path) -> None:
    crate = Crate.of(folder)
    toolchain = find_toolchain()
    if isinstance(toolchain, str):
        raise BuildError(f"cannot build {folder}: {toolchain}")
    component = build_component(crate, toolchain, cache_folder())
    try:
        out.write_bytes(component)
    except OSError as error:
        raise BuildError(f"cannot write {out}: {error.strerror}") from None
    print(f"{out}: {len(component)} bytes, sha256:{hashlib.sha256(component).hexdigest()}")


if __name__ == "__main__":
    sys.exit(main())
