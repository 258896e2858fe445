"""The command line that the benchmarks share."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.results import Result, problems, show, write


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that each of them has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, help="write the results to this file")
    made.add_argument("--check", action="store_true", help="fail if a ratio is outside the range of thresholds.yaml")
    return made


def progress(line: str) -> None:
    """Say how far it is; on stderr, so that stdout holds the results only."""
    print(f"  {line}", file=sys.stderr, flush=True)


def report(given: argparse.Namespace, title: str, results: Sequence[Result]) -> None:
    """Print, write and check as the command line says."""
    show(title, results)
    if given.json:
        write(given.json, results)
    found = problems(results) if given.check else []
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    if found:
        sys.exit(1)
