"""Runs one command to its end, and gives it time to tidy up when it is cut off. Called by `cluster`."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from testing.controlplane.errors import ControlPlaneError, KubectlError
from testing.supervised import ROOT

_SECONDS: Final = 180
_TIDY_SECONDS: Final = 60
"""manifests/choose-admission.sh removes the policy that it tries."""


def run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What it printed, run from the root of the repository.

    Raises KubectlError with what it said when it fails, and ControlPlaneError when it does not end.
    """
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C is for the demo.
        start_new_session=True,
    ) as process:
        try:
            out, error = process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired as late:
            _end(process)
            raise ControlPlaneError(f"{' '.join(command)} took longer than {_SECONDS} s") from late
        except BaseException:
            _end(process)
            raise
    if process.returncode:
        raise KubectlError(process.returncode, command, out, error)
    return out


def _end(process: subprocess.Popen[str]) -> None:
    """SIGTERM and time to tidy up; then, or on another Ctrl-C, SIGKILL."""
    try:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_TIDY_SECONDS)
    finally:
        _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[str], number: signal.Signals) -> None:
    # Not once it has been waited for: its number may then be somebody else's.
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
