"""Takes the guards of the fence off, one by one, and says whether a test notices.

Run: ``python -m hack.guards [-n WORKERS] [GUARD...]``. Each guard is a change to the real source, made in a copy of
this checkout; then the tests that are named for it are run there, and each must fail. With all guards on they must
pass, under the same limits. Ends with 1 if an operator without one of its guards passes, or if a change no longer fits
the source. docs/design.md has the table.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hack.guards_table import GUARDS, Guard

ROOT = Path(__file__).parents[1]
# Most tests fail by waiting in vain: that need not last as long as in a run that is to pass.
WAIT_SECONDS = 45


@dataclass(frozen=True)
class Outcome:
    """What became of one named test without the guard."""

    test: str
    failed: bool
    why: str


def copy_of(root: Path, folder: Path) -> Path:
    """What is in git, or would be, in another place."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    return folder


def take_off(guard: Guard, copy: Path) -> dict[Path, str]:
    """Change the source; what it was. Raises ValueError if a change does not fit."""
    before: dict[Path, str] = {}
    for name, old, new in guard.changes:
        path = copy / "operator" / "curation" / name
        text = path.read_text()
        before.setdefault(path, text)
        if text.count(old) != 1:
            raise ValueError(f"{guard.name}: this is {text.count(old)} times in {name}, not once: {old!r}")
        path.write_text(text.replace(old, new))
    return before


def run_tests(copy: Path, tests: Iterable[str], workers: int) -> dict[str, list[str]]:
    """Run the tests in the copy; for each the messages of its failures. Raises RuntimeError if one did not run."""
    tests = list(tests)
    report = copy / "report.xml"
    report.unlink(missing_ok=True)
    environment = {
        **os.environ,
        # Before the checkout that is installed: both for the tests and for the operators that they start.
        "PYTHONPATH": str(copy / "operator"),
        "CURATION_TEST_SECONDS": str(WAIT_SECONDS),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
    ended = subprocess.run(
        [*command, "-n", str(workers), *tests], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode not in (0, 1):
        raise RuntimeError(f"pytest ended with {ended.returncode}:\n{ended.stdout[-3000:]}\n{ended.stderr[-1000:]}")
    found: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = str(case.get("name"))
        messages = [str(failure.get("message", "")) for failure in case.findall("failure")]
        for test in tests:
            if name == test.partition("::")[2]:
                found.setdefault(test, []).extend(messages)
    missing = [test for test in tests if test not in found]
    if missing:
        raise RuntimeError(f"these tests did not run: {missing}:\n{ended.stdout[-3000:]}")
    return found


def without(guard: Guard, copy: Path, workers: int) -> list[Outcome]:
    """The outcomes of the tests that are named for a guard, without it."""
    before = take_off(guard, copy)
    try:
        failures = run_tests(copy, guard.tests, workers)
    finally:
        for path, text in before.items():
            path.write_text(text)
    return [
        Outcome(test, bool(messages), messages[0].strip().splitlines()[0][:160] if messages else "")
        for test, messages in failures.items()
    ]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", dest="workers", type=int, default=2, help="test workers")
    parser.add_argument("guards", nargs="*", help="names, or parts of names, of those to be removed; else all")
    given = parser.parse_args()
    chosen = [guard for guard in GUARDS if not given.guards or any(part in guard.name for part in given.guards)]
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="guards-") as folder:
        copy = copy_of(ROOT, Path(folder))
        named = list(dict.fromkeys(test for guard in chosen for test in guard.tests))
        failures = run_tests(copy, named, given.workers)
        broken = [test for test, messages in failures.items() if messages]
        print(
            f"with all guards: {len(named) - len(broken)} of {len(named)} tests pass", *broken, sep="\n  ", flush=True
        )
        wrong += len(broken)
        for guard in chosen:
            began = time.monotonic()
            outcomes = without(guard, copy, given.workers)
            print(f"without the {guard.name} ({time.monotonic() - began:.0f} s):", flush=True)
            for outcome in outcomes:
                print(
                    f"  {'fails ' if outcome.failed else 'PASSES'} {outcome.test}\n         {outcome.why}", flush=True
                )
            wrong += sum(not outcome.failed for outcome in outcomes)
    print(f"{len(chosen)} guards removed; {wrong} tests ended otherwise than they should")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
