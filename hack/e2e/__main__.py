"""`python -m hack.e2e [--node FOLDER | --image IMAGE] [pytest's arguments]`, for `make e2e`.

Exit codes: pytest's own, 2 if there is no cluster to run the tests on, 130 if it was interrupted.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

from hack.e2e.errors import TargetError
from hack.e2e.target import ROOT, CurrentCluster, NodeKit, Target

IMAGE_VARIABLE = "CURATION_E2E_IMAGE"
"""Says to the tests that there is a cluster, and which image to install; `tests/e2e/conftest.py` reads it."""

SESSIONS_VARIABLE = "CURATION_E2E_SESSIONS_IMAGE"
"""The image of the sample session service; empty where there is none, and what needs it is skipped."""

NOTHING_GIVEN = """\
error: the end-to-end tests need a cluster with a real node, and none was given. Give one of
  make e2e NODE=<folder of a node kit>    builds the image and a single node on this machine (root, Linux)
  make e2e IMAGE=<image of the operator>  uses the cluster of the current KUBECONFIG, whose nodes can pull the image
docs/install.md says what a node kit is."""

_NO_TARGET = 2
_INTERRUPTED = 130  # 128 + SIGINT, as a shell says it


def run_tests(target: Target, arguments: list[str]) -> int:
    """Run pytest against the target; returns pytest's exit code."""
    with target:
        tests = target.command(sys.executable, "-m", "pytest", "tests/e2e", "-v", *arguments)
        print(f"== the tests, with {target.image}", flush=True)
        environment = {**os.environ, IMAGE_VARIABLE: target.image, SESSIONS_VARIABLE: target.sessions}
        # In a session of its own: a Ctrl-C reaches it once, from here, and not twice, which would end its clean-up.
        process = subprocess.Popen(tests, cwd=ROOT, env=environment, start_new_session=True)
        try:
            return process.wait()
        except KeyboardInterrupt:
            print("== interrupted; the tests take away what they have installed", flush=True)
            process.send_signal(signal.SIGINT)
            process.wait()
            raise


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hack.e2e", description="End-to-end tests on a real node.")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--node", type=Path, metavar="FOLDER", help="of a node kit, which builds and runs a node here")
    where.add_argument("--image", help="of the operator, for the cluster of the current kubeconfig")
    parser.add_argument("--sessions-image", default="", help="with --image: of the sample session service")
    parser.add_argument("--keep", action="store_true", help="leave the node of the kit up")
    arguments, for_pytest = parser.parse_known_args()
    # SIGTERM and a closed terminal end it as Ctrl-C does: the node is taken down.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        if arguments.node is not None:
            return run_tests(NodeKit(arguments.node, keep=arguments.keep), for_pytest)
        if arguments.image is not None:
            return run_tests(CurrentCluster(arguments.image, arguments.sessions_image), for_pytest)
    except TargetError as error:
        print(f"error: {error}", file=sys.stderr)
        return _NO_TARGET
    except KeyboardInterrupt:
        return _INTERRUPTED
    print(NOTHING_GIVEN, file=sys.stderr)
    return _NO_TARGET


if __name__ == "__main__":
    sys.exit(main())
