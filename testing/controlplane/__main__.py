"""`python -m testing.controlplane build` for `make controlplane`, `... up` for people who want a server."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from testing.controlplane.binaries import OLDEST, OLDEST_OF_DEFAULT_OVERLAY
from testing.controlplane.build import find_or_build
from testing.controlplane.errors import ControlPlaneError


def _build(release: str | None, *, controllers: bool, oldest: tuple[int, int]) -> None:
    binaries = find_or_build(release=release, controllers=controllers, oldest=oldest)
    if binaries.other_apiserver:
        print(f"kube-apiserver {binaries.version}: {binaries.other_apiserver}", file=sys.stderr)
    print(f"The control plane's programs ({binaries.source}):", file=sys.stderr)
    print(binaries.folder)


def _up(folder: Path | None, release: str | None, *, bare: bool) -> None:
    # Here, so that `build` needs nothing but the standard library.
    from testing.controlplane.install import install
    from testing.controlplane.server import ControlPlane

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with ControlPlane(folder=folder, binaries=find_or_build(release=release)) as control_plane:
        if not bare:
            install(control_plane.connection)
        print(f"export KUBECONFIG={control_plane.kubeconfig()}")
        print(f'export PATH="{control_plane.connection.binaries}:$PATH"', flush=True)
        what = "its data are removed then" if folder is None else f"its data stay in {folder}"
        print(f"The control plane runs at {control_plane.connection.url}. Ctrl-C ends it; {what}.", file=sys.stderr)
        stop.wait()


def main() -> int:
    """Run one command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m testing.controlplane", description="A local Kubernetes control plane"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="find, fetch or build the programs; the last line is their folder")
    build.add_argument(
        "--controllers", action="store_true", help="with kube-controller-manager, which is never fetched"
    )
    build.add_argument("--tests", action="store_true", help="as the tests need them: --controllers, and no old version")
    up = commands.add_parser("up", help="run a control plane with the CRDs and manifests until Ctrl-C")
    up.add_argument("--dir", type=Path, help="keep the data here, and find them again (default: temporary)")
    up.add_argument("--bare", action="store_true", help="install no CRDs and manifests")
    for command in (build, up):
        command.add_argument("--release", help="an API server of this Kubernetes release, such as 1.35.4")
    arguments = parser.parse_args()
    try:
        if arguments.command == "build":
            oldest = OLDEST_OF_DEFAULT_OVERLAY if arguments.tests else OLDEST
            _build(arguments.release, controllers=arguments.controllers or arguments.tests, oldest=oldest)
        else:
            _up(arguments.dir, arguments.release, bare=arguments.bare)
    except ControlPlaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
