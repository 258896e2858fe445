"""Runs kubectl as a person would, against the cluster of the current kubeconfig, and waits for what it shows."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from testing.controlplane.errors import KubectlError

Document = dict[str, Any]

SECONDS = 180.0
"""How long a test waits for one thing to happen: some ten times what a machine with two busy cores needs."""

_COMMAND_SECONDS = 300.0
_POLL_SECONDS = 0.3


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Run it; returns what it printed. Raises KubectlError with what kubectl said."""
    # `kubectl curation` is the program kubectl-curation on the PATH.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["kubectl", *arguments],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        check=False,
        timeout=_COMMAND_SECONDS,
        env={**os.environ, "PATH": path, "KUBERC": "off"},
    )
    if done.returncode:
        raise KubectlError(done.returncode, ["kubectl", *arguments], done.stdout, done.stderr)
    return done.stdout


def get(*arguments: str) -> Document:
    """The object, or the list of objects, that `kubectl get` shows."""
    shown: Document = json.loads(kubectl("get", *arguments, "--output=json"))
    return shown


def items(*arguments: str) -> list[Document]:
    """The objects of a list."""
    found: list[Document] = get(*arguments)["items"]
    return found


def apply(*documents: Document) -> None:
    """Apply them in one call, server-side."""
    kubectl(
        "apply", "--server-side", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": documents})
    )


def until(condition: Callable[[], bool], what: str, picture: Callable[[], str] = str) -> None:
    """Check again and again until the condition holds; after `SECONDS` an AssertionError with the `picture`."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {SECONDS:.0f} s in vain until {what}\n{picture()}")
        time.sleep(_POLL_SECONDS)
