"""`make plugin`: the archive of kubectl-curation for this platform, in dist/plugin.

Run: ``python -m hack.krew archive [--out FOLDER]``, or, once a folder has the archives of all platforms,
``python -m hack.krew manifest --url URL [--out FOLDER]``, which writes curation.yaml for krew beside them.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path

from hack.krew import archive, manifest


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hack.krew", description=__doc__)
    parser.add_argument("what", choices=["archive", "manifest"])
    parser.add_argument("--out", type=Path, default=archive.ROOT / "dist" / "plugin", help="default: dist/plugin")
    parser.add_argument("--url", help="where the archives are published, such as .../releases/download/v0.1.0")
    arguments = parser.parse_args()
    version = tomllib.loads((archive.ROOT / "pyproject.toml").read_text())["project"]["version"]
    try:
        if arguments.what == "archive":
            arguments.out.mkdir(parents=True, exist_ok=True)
            print(archive.archive(arguments.out, version))
            return 0
        if not arguments.url:
            parser.error("manifest needs --url")
        made = manifest.manifest(version, manifest.archives_in(arguments.out), arguments.url)
        (arguments.out / manifest.FILE).write_text(made)
        print(arguments.out / manifest.FILE)
    except (archive.CannotBundle, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
