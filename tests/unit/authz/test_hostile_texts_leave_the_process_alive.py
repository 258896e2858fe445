"""What passes the scan never crashes cedarpy, on the stacks that Python's threads have; what it refuses would."""

import signal
import subprocess
import sys
from pathlib import Path

DRIVER = Path(__file__).with_name("hostile_texts.py")
CHAINS = ("and", "or", "sum", "product", "has and", "has members and", "like and", "in", "everything at its bound")


def _feed(*args: str) -> subprocess.CompletedProcess[str]:
    # Core dumps off: one of these programs is meant to crash.
    return subprocess.run(
        ["sh", "-c", 'ulimit -c 0; exec "$0" "$@"', sys.executable, str(DRIVER), *args],
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_every_family_at_its_largest_is_answered_on_the_smallest_stack_a_thread_has() -> None:
    fed = _feed("2048")
    lines = fed.stdout.splitlines()
    assert fed.returncode == 0, f"died after {lines[-1:]}: {fed.stderr[-500:]}"
    assert lines[-1] == "done"
    assert len(lines) > 400


def test_no_policy_within_the_bounds_meets_cedars_recursion_limit_on_a_usual_stack() -> None:
    fed = _feed("8192", *CHAINS)
    assert fed.returncode == 0, fed.stderr[-500:]
    assert fed.stdout.count("Valid") == len(CHAINS)
    assert "recursion" not in fed.stdout


def test_without_the_scan_deep_nesting_ends_the_process() -> None:
    """The reason for the scan. Should this fail one day, cedarpy has mended it and the depth bound can go."""
    assert _feed("raw").returncode == -signal.SIGSEGV
