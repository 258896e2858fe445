"""Numbers with names and units: printed as a table, written as JSON, checked against `thresholds.yaml`."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import yaml
from rich.console import Console
from rich.table import Table

THRESHOLDS: Final = Path(__file__).with_name("thresholds.yaml")


@dataclass(frozen=True, slots=True)
class Result:
    """One number. What is a ratio of two numbers of one run holds on any machine, and can be checked."""

    name: str
    value: float
    unit: str
    goal: str = ""


def compared(name: str, ratios: Sequence[float], goal: str = "", *, spread_of: str | None = None) -> list[Result]:
    """The median of the ratios of all rounds, and their spread, which is called after `spread_of` (None: `name`)."""
    return [
        Result(name, median(ratios), "ratio", goal),
        Result(f"{spread_of or name}: spread", max(ratios) - min(ratios), ""),
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * share // 1).__int__() - 1))]


def show(title: str, results: Sequence[Result]) -> None:
    """Print a table."""
    table = Table("what", "value", "unit", "goal", title=title, title_justify="left")
    for result in results:
        table.add_row(
            result.name, f"{result.value:,.4g}" if result.value < 1000 else f"{result.value:,.0f}", *_rest(result)
        )
    Console().print(table)


def _rest(result: Result) -> tuple[str, str]:
    return result.unit, result.goal


def write(path: Path, results: Sequence[Result]) -> None:
    """Write JSON."""
    path.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")


def problems(results: Sequence[Result], thresholds: Path = THRESHOLDS) -> list[str]:
    """Which results are outside the range that their threshold gives them, one line each."""
    known: dict[str, dict[str, Any]] = yaml.safe_load(thresholds.read_text())["ratios"]
    found = []
    for result in results:
        bounds = known.get(result.name)
        if bounds is None:
            continue
        low, high = bounds.get("min", float("-inf")), bounds.get("max", float("inf"))
        if not low <= result.value <= high:
            found.append(
                f"{result.name} is {result.value:.4g}, outside [{low:g}, {high:g}] "
                f"(mean {bounds['mean']:g}, spread {bounds['spread']:g} in {bounds['runs']} runs)"
            )
    return found
