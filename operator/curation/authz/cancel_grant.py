"""What a grant covers under Cancel: the Cedar condition, and the words for the person who decides."""

from typing import Any

from curation.api.approval import EvaluatedRequest, Scope
from curation.api.cancel import CancelRequest
from curation.api.names import Trigger

Json = dict[str, Any]
_PATH: Json = {".": {"left": {"Var": "context"}, "attr": "path"}}
_ANY = "Wildcard"


def condition(cancel: tuple[CancelRequest, ...] | None) -> Json | None:
    """The Cancel requests that a module declares, in Cedar's JSON policy form; None if there are none.

    `cancel` None: it declares nothing, and then all that the origin offers.
    """
    under_cancel = _equals("trigger", Trigger.CANCEL.value)
    if cancel is None:
        return under_cancel
    if not cancel:
        return None
    return _joined("&&", [under_cancel, _joined("||", [_one(request) for request in cancel])])


def in_words(request: EvaluatedRequest, scope: Scope, cancel: tuple[CancelRequest, ...] | None) -> str:
    """What a grant covers under Cancel, as the end of a sentence that begins with "Under Cancel it covers"."""
    origin = f"{request.scheme}://{request.host}:{request.port}"
    if scope is Scope.HOST:
        return f"every method and path of {origin}"
    if cancel is None:
        return f"every method and path of {origin}, since the module declares no Cancel requests (spec.cancel)"
    if not cancel:
        return "nothing more: the module declares that it makes no Cancel requests"
    return f"{', '.join(f'{each.method} {each.path}' for each in cancel)} of {origin}, with any query"


def _one(request: CancelRequest) -> Json:
    """Trap: Cedar's * matches any characters, slashes too. Of a path with as many slashes as the pattern each * can
    only be within a segment; and a segment that is empty may be the collection of all of them."""
    pattern: list[Any] = []
    segments = request.path.split("/")[1:]
    for segment in segments:
        pattern += [{"Literal": "/"}, _ANY if segment == "*" else {"Literal": segment}]
    terms = [_equals("method", request.method), _like(pattern)]
    if "*" in segments:
        deeper = [_ANY, *({"Literal": "/"}, _ANY) * (len(segments) + 1)]
        terms.append(_not(_like(deeper)))
        if "*" in segments[:-1]:
            terms.append(_not(_like([_ANY, {"Literal": "//"}, _ANY])))
        if segments[-1] == "*":
            terms.append(_not(_like([_ANY, {"Literal": "/"}])))
    return _joined("&&", terms)


def _like(pattern: list[Any]) -> Json:
    return {"like": {"left": _PATH, "pattern": [each for each in pattern if each != {"Literal": ""}]}}


def _not(term: Json) -> Json:
    return {"!": {"arg": term}}


def _equals(attribute: str, value: str) -> Json:
    return {"==": {"left": {".": {"left": {"Var": "context"}, "attr": attribute}}, "right": {"Value": value}}}


def _joined(operator: str, terms: list[Json]) -> Json:
    body = terms[0]
    for term in terms[1:]:
        body = {operator: {"left": body, "right": term}}
    return body
