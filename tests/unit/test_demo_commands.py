"""A command of the demo that is cut off tidies up first: what it has put into somebody's cluster goes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.commands import run
from testing.controlplane.errors import KubectlError
from testing.supervised import ROOT

_SECONDS = 120.0
_DEMO = """
import os, signal, sys
from demo.commands import run
signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    run(["sh", "-c", sys.argv[1]], os.environ)
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_a_command_that_is_interrupted_ends_as_its_own_trap_says(tmp_path: Path) -> None:
    # As manifests/choose-admission.sh does with the policy that it tries. Trap: the demo may still be starting the
    # command when that has begun. It reads what is printed once it waits; until then this is more than a pipe holds.
    script = (
        f"trap 'echo gone > {tmp_path}/policy' EXIT; trap 'exit 130' TERM; head -c 300000 /dev/zero; "
        f"echo there > {tmp_path}/policy; sleep 300"
    )
    with subprocess.Popen([sys.executable, "-c", _DEMO, script], cwd=ROOT) as demo:
        try:
            deadline = time.monotonic() + _SECONDS
            while not (tmp_path / "policy").exists():
                assert demo.poll() is None
                assert time.monotonic() < deadline, "the command does not start"
                time.sleep(0.02)
            demo.send_signal(signal.SIGTERM)
            assert demo.wait(_SECONDS) == 130
        finally:
            demo.kill()
    assert (tmp_path / "policy").read_text() == "gone\n"


def test_a_command_that_fails_says_what_it_said() -> None:
    assert run(["sh", "-c", "echo yes"], os.environ) == "yes\n"
    with pytest.raises(KubectlError, match="no cluster"):
        run(["sh", "-c", "echo no cluster >&2; exit 3"], os.environ)
