"""What a guest that has ended came to: the failure classes (docs/curationjob.md), as one pure function."""

import json
from typing import Any

import pydantic_core
from pydantic import ValidationError

from curation.api.clipping import clip
from curation.api.contract import (
    CancelledResult,
    CompletedResult,
    FailedResult,
    GuestError,
    RunningResult,
    SessionSpawnedResult,
    result_adapter,
)
from curation.api.digest import json_size, without_nulls
from curation.api.schema import JsonObject
from curation.execution.calls import CallResult, DeniedCall
from curation.lifecycle.outcome import (
    Cancelled,
    Completed,
    Denied,
    Failed,
    FailureClass,
    Result,
    SessionFailed,
    SessionRef,
    SessionSpawned,
    StillRunning,
    Trigger,
)
from curation.wasm.guest_end import Exceeded, GuestEnd, Returned, Stopped, Trapped
from curation.wasm.limits import LimitName, Limits, output_size_hit, size_text

MAX_TEXT = 1024
"""Characters of a module's own words in a message."""

_CLASSES = {each.value: each for each in FailureClass if each is not FailureClass.INTERRUPTED}
"""Those that a module may claim. That a run was interrupted is not its to say: such a run is retried for ever."""


def guest_result(
    trigger: Trigger, end: GuestEnd, last_call: CallResult | None, last_denied: DeniedCall | None, limits: Limits
) -> Result:
    """The result of an execution.

    A run that returned ok is never Denied, whatever was denied on the way. A failed one is Denied iff its last call was
    denied, or its error says so and some call was.
    """
    size = len(end.document.encode()) if isinstance(end, Returned) else 0
    too_large = Exceeded(output_size_hit(size, limits)) if size > limits.output_size else None
    result: Result
    if isinstance(end, Returned) and end.ok and (too_large is None or trigger is Trigger.OBSERVE):
        result = (
            _result(trigger, end.document) if too_large is None else _long(trigger, end.document, too_large, limits)
        )
        if not isinstance(result, Failed):
            return result
        failed, claimed = result, None
    else:
        failed, claimed = _failed(too_large or end, last_call)
    last_was_denied = last_call is not None and last_call.code == "denied"
    if last_denied is not None and (last_was_denied or claimed is FailureClass.DENIED):
        return Denied(last_denied.request, last_denied.reason)
    return failed


def _long(trigger: Trigger, document: str, too_large: Exceeded, limits: Limits) -> Result:
    """A session's end counts though its output is too large: its job would run for ever. Other results do not.

    Trap: to validate all of such a document takes a second of Python. So only what counts of it is validated.
    """
    try:
        parsed = pydantic_core.from_json(document)
    except ValueError:
        return _result(trigger, document)  # which says what is wrong with it
    if not isinstance(parsed, dict) or parsed.get("action") not in ("Completed", "Failed"):
        return _failed(too_large, None)[0]
    output = parsed.get("output")
    if (
        parsed["action"] == "Completed"
        and isinstance(output, dict)
        and (size := json_size(output)) > limits.output_size
    ):
        allowed = size_text(limits.output_size)
        return Completed({}, f"Its output of {size} bytes is over outputSize {allowed} and left out.")
    short = {name: parsed[name] for name in ("action", "output", "reason") if name in parsed}
    return _result(trigger, json.dumps(short))


def _failed(end: GuestEnd, last_call: CallResult | None) -> tuple[Failed, FailureClass | None]:
    """Why it failed, denials left aside, and the class that the module itself claims."""
    match end:
        case Returned():
            return _module_error(end.document, last_call)
        case Trapped():
            return Failed(FailureClass.TRAP, f"the module trapped: {_shortened(str(end))}"), None
        case Exceeded(hit):
            timeout = hit.name is LimitName.WALL_SECONDS
            return Failed(FailureClass.TIMEOUT if timeout else FailureClass.LIMIT_EXCEEDED, _shortened(str(hit))), None
        case Stopped(cause):
            return Failed(FailureClass.TIMEOUT, f"the module was interrupted: its run is over ({cause})"), None


def _module_error(document: str, last_call: CallResult | None) -> tuple[Failed, FailureClass | None]:
    try:
        error = GuestError.model_validate_json(document)
        said, claimed = _shortened(error.message), _CLASSES.get(error.claimed_class or "")
    except ValidationError:
        said, claimed = _shortened(document), None
    inferred = _class_of(last_call)
    if claimed is FailureClass.LIMIT_EXCEEDED or (claimed is None and inferred is FailureClass.LIMIT_EXCEEDED):
        hit = f"{last_call.hit}; " if last_call is not None and last_call.hit is not None else ""
        return Failed(FailureClass.LIMIT_EXCEEDED, f"{hit}the module said: {said}"), claimed
    # A claimed Denied that nothing denied is an error like any other.
    known = inferred if claimed in (None, FailureClass.DENIED) else claimed
    return Failed(known or FailureClass.MODULE_ERROR, f"the module failed: {said}"), claimed


def _class_of(last_call: CallResult | None) -> FailureClass | None:
    """The class that follows from the answer to a module's last call, if the module itself names none."""
    if last_call is None:
        return None
    if last_call.egress_refused:
        return FailureClass.EGRESS_REFUSED
    return {"unavailable": FailureClass.HTTP_UNAVAILABLE, "limit": FailureClass.LIMIT_EXCEEDED}.get(
        last_call.code or ""
    )


def _result(trigger: Trigger, document: str) -> Result:
    try:
        parsed: Any = result_adapter(trigger).validate_json(document)
    except ValidationError as error:
        problem = _problem(error)
        message = f"the module's result of {trigger} is not what the contract says: {problem}"
        return Failed(FailureClass.MODULE_ERROR, _shortened(message))
    match parsed:
        case SessionSpawnedResult(session=session):
            return SessionSpawned(SessionRef(session.id, session.url))
        case CompletedResult(output=output):
            return Completed(_clean(output))
        case RunningResult(progress=progress):
            return StillRunning(None if progress is None else _clean(progress))
        case FailedResult(reason=reason):
            return SessionFailed(_shortened(reason))
        case CancelledResult():
            return Cancelled()
        case _:
            raise AssertionError(f"no result is parsed to {type(parsed)}")


def _problem(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    # pydantic puts the tag of a union before the fields of its member.
    where = [str(each) for each in first["loc"] if each not in ("SessionSpawned", "Completed", "Running", "Failed")]
    if first["type"].startswith("union_tag"):
        where = ["action"]
    return f"{'.'.join(where)}: {first['msg']}" if where else str(first["msg"])


def _clean(value: JsonObject) -> JsonObject:
    cleaned = without_nulls(value)
    assert isinstance(cleaned, dict)
    return cleaned


def _shortened(text: str) -> str:
    return clip(text, MAX_TEXT, "...")
