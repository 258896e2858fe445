"""`curation-guest-build MODULE OUT`: the component of a Python module, without WASI."""

import argparse
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

_PACKAGE = Path(__file__).parent


def _left_out(folder, names):
    return [
        name
        for name in names
        if name.startswith(".") or name in ("__pycache__", "wit") or (Path(folder) / name / "pyvenv.cfg").exists()
    ]


def main():
    """The command line; exits with the code of componentize-py."""
    parser = argparse.ArgumentParser(
        prog="curation-guest-build", description="Makes a component of a module of the Curation Operator."
    )
    parser.add_argument("module", help="name of the Python module in this folder that has `WitWorld`, such as app")
    parser.add_argument("out", help="file to write, such as my-module.wasm")
    parser.add_argument(
        "-p", "--python-path", action="append", default=[], metavar="FOLDER", help="more folders to import from"
    )
    asked = parser.parse_args()
    program = Path(sysconfig.get_path("scripts")) / "componentize-py"
    with tempfile.TemporaryDirectory(prefix="curation-guest-") as folder:
        # Copies: all that lies in these folders becomes a part of the component, an environment beside the module too.
        for source, target in ((Path.cwd(), "own"), (_PACKAGE, f"contract/{_PACKAGE.name}")):
            shutil.copytree(source, Path(folder) / target, ignore=_left_out)
        own = [f"{folder}/own", f"{folder}/contract", *asked.python_path]
        paths = [word for each in own for word in ("-p", each)]
        world = ["-d", str(_PACKAGE / "wit"), "-w", "guest"]
        command = [str(program), *world, "componentize", "--stub-wasi", *paths, asked.module, "-o", asked.out]
        done = subprocess.run(command, check=False)
    if done.returncode == 0:
        print(f"{asked.out}: {Path(asked.out).stat().st_size} bytes")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
