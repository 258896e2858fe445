"""`python -m hack.modules build` and `python -m hack.modules check`: the modules that ship with the operator."""

import argparse
import sys

import hack.modules
from curation.building.build_errors import BuildError
from hack.modules import shipped


def main(arguments: list[str] | None = None) -> int:
    """The command line: 0 when all is well or cannot be compared, 1 when not."""
    summary = (hack.modules.__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m hack.modules", description=summary)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build them into the operator's package")
    commands.add_parser("check", help="compare the shipped modules with what their sources build to")
    asked = parser.parse_args(arguments)
    try:
        if asked.command == "check":
            _check()
        else:
            shipped.build()
    except BuildError as error:
        print(f"modules: {error}", file=sys.stderr)
        return 1
    return 0


def _check() -> None:
    reason = shipped.check()
    outcome = "the sources build to the bytes that are kept" if reason is None else f"not compared, since {reason}"
    print(f"modules: {outcome}")


if __name__ == "__main__":
    sys.exit(main())
