"""A `try` as text for a person, and as a document for a program."""

import json
from collections.abc import Iterator
from typing import Any, Final

from curation.api.clipping import clip
from curation.cli.text import plural, safe, table
from curation.cli.trial_run import Trial, TriedCall
from curation.lifecycle.outcome import (
    Cancelled,
    Completed,
    Denied,
    Failed,
    Result,
    SessionFailed,
    SessionSpawned,
    StillRunning,
)
from curation.wasm.limits import size_text

MAX_LINE: Final = 2000
"""Characters of one value in the text; the document has it whole."""


def as_document(trial: Trial) -> dict[str, Any]:
    """What `-o json` prints."""
    request, report = trial.request, trial.report
    return {
        "module": {
            "name": request.module.name,
            "digest": request.module.digest,
            "sizeBytes": trial.size_bytes,
        },
        "run": {"id": request.run.id, "templateDigest": request.run.template_digest},
        "trigger": request.trigger.value,
        "calls": [_call(call) for call in trial.calls],
        "callsNotShown": trial.more_calls,
        "log": report.log.splitlines(),
        "result": _result(report.result),
        "limits": {name: {"used": used, "allowed": allowed} for name, used, allowed, _ in _limits(trial)},
    }


def as_text(trial: Trial) -> str:
    """What is printed without -o."""
    return "\n".join(_lines(trial))


def _lines(trial: Trial) -> Iterator[str]:
    request, report = trial.request, trial.report
    yield f"Module {safe(request.module.name)} {request.module.digest}, {trial.size_bytes} bytes"
    yield f"{request.trigger} of run {safe(request.run.id)}"
    yield ""
    yield "Calls" if trial.calls else "Calls: none"
    for call in trial.calls:
        yield f"  {call.number}  {_cut(call.shown)}"
        yield f"     {_cut(_decided(call))}"
        yield f"     {_cut(_answered(call))}, {call.seconds:.3f} s"
    if trial.more_calls:
        yield f"  and {plural(trial.more_calls, 'call')} more"
    yield ""
    yield "Log" if report.log else "Log: empty"
    for line in report.log.splitlines():
        yield f"  {_cut(line)}"
    yield ""
    for name, value in _result(report.result).items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield f"{name[:1].upper()}{name[1:]}: {_cut(text)}"
    yield ""
    yield table(("LIMIT", "USED", "ALLOWED"), [(name, *shown) for name, _, _, shown in _limits(trial)])


def _cut(text: str) -> str:
    return safe(clip(text, MAX_LINE))


def _decided(call: TriedCall) -> str:
    if call.decision is None:
        return "the gate was not asked"
    return call.decision.reason if not call.decision.allowed else f"allowed by {', '.join(call.decision.policies)}"


def _answered(call: TriedCall) -> str:
    answer = call.answer
    if answer is None:
        return "cut short: the run was ended"
    return f"answered {answer.status}" if answer.code is None else f"{answer.code}: {answer.message}"


def _call(call: TriedCall) -> dict[str, Any]:
    decision, answer = call.decision, call.answer
    document: dict[str, Any] = {
        "number": call.number,
        "call": call.shown,
        "request": None if call.request is None else call.request.to_wire(),
        "decision": "none" if decision is None else "allowed" if decision.allowed else "denied",
    }
    if decision is not None:
        document |= {
            "reason": decision.reason,
            "policies": list(decision.policies),
            "errors": list(decision.errors),
        }
    if answer is None:
        document["answer"] = None
    elif answer.code is None:
        document["answer"] = {"status": answer.status}
    else:
        document["answer"] = {"code": answer.code, "message": answer.message}
    return document | {"seconds": round(call.seconds, 6)}


def _result(result: Result) -> dict[str, Any]:
    match result:
        case SessionSpawned(session=session):
            link = {} if session.url is None else {"url": session.url}
            return {"action": "SessionSpawned", "session": {"id": session.id, **link}}
        case Completed(output=output, left_out=left_out):
            return {"action": "Completed", "output": output, **({"leftOut": left_out} if left_out else {})}
        case StillRunning(progress=progress):
            return {"action": "Running", **({} if progress is None else {"progress": progress})}
        case SessionFailed(reason=reason):
            return {"action": "Failed", "reason": reason}
        case Cancelled():
            return {"action": "Cancelled"}
        case Denied(message=message):
            return {"error": "Denied", "message": message}
        case Failed(failure_class=failure_class, message=message):
            return {"error": failure_class.value, "message": message}


def _limits(trial: Trial) -> Iterator[tuple[str, Any, Any, tuple[str, str]]]:
    """Name, used and allowed as numbers, and both in words."""
    used, limits = trial.used, trial.request.module.limits
    start = used.start_memory
    yield "memory", None, limits.memory, (f"begins with {size_text(start)}", size_text(limits.memory))
    cpu, wall = round(used.cpu_seconds, 6), round(used.wall_seconds, 6)
    yield "cpuSeconds", cpu, limits.cpu_seconds, (f"{cpu:.3f}", f"{limits.cpu_seconds:g}")
    yield "wallSeconds", wall, limits.wall_seconds, (f"{wall:.3f}", f"{limits.wall_seconds:g}")
    yield "httpCalls", used.http_calls, limits.http_calls, (str(used.http_calls), str(limits.http_calls))
    for name, size, allowed in (
        ("responseSize", used.response_size, limits.response_size),
        ("outputSize", used.output_size, limits.output_size),
    ):
        yield name, size, allowed, (size_text(size), size_text(allowed))
