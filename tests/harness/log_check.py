"""Every line that an operator logs about a run or a job can be found by the fields of it."""

import re
from collections.abc import Iterable
from typing import Any

LogLine = dict[str, Any]

_RUN_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.g\d+\.a\d+")
_JOB = re.compile(r"CurationJob ([a-z0-9.-]+/[a-z0-9.-]*[a-z0-9])")


def unlabelled(log: Iterable[LogLine]) -> list[str]:
    """Lines of the operator's own loggers that are about a run or a job, and lack a field of it or have a wrong one."""
    return [str(line) for line in log if str(line.get("logger", "")).startswith("curation") and not _is_labelled(line)]


def _is_labelled(line: LogLine) -> bool:
    message, job = str(line.get("message", "")), str(line.get("job", ""))
    if _RUN_ID.search(message) or "run_id" in line:
        numbers = f".g{line.get('generation')}.a{line.get('attempt')}"
        return str(line.get("run_id", "")).endswith(numbers) and "/" in job
    named = _JOB.search(message)
    return named is None or job == named[1]
