"""Every line that an operator logs about a run can be found by the run's fields."""

import re
from collections.abc import Iterable
from typing import Any

LogLine = dict[str, Any]

_RUN_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.g\d+\.a\d+")


def unlabelled(log: Iterable[LogLine]) -> list[str]:
    """Lines of the operator's own loggers that are about a run, and lack a field of it or have a wrong one."""
    return [
        str(line)
        for line in log
        if str(line.get("logger", "")).startswith("curation")
        and (_RUN_ID.search(str(line.get("message", ""))) or "run_id" in line)
        and not _is_labelled(line)
    ]


def _is_labelled(line: LogLine) -> bool:
    numbers = f".g{line.get('generation')}.a{line.get('attempt')}"
    return str(line.get("run_id", "")).endswith(numbers) and "/" in str(line.get("job", ""))
