"""Requests and words survive the way over a wire unchanged, and what does not fit is refused with its field."""

import json
from typing import Any, get_args

import pytest

from curation.api.approval import EvaluatedRequest
from curation.api.module import Credential
from curation.execution.seam import (
    Accepted,
    Answered,
    Ended,
    ExecutionRequest,
    Left,
    Lost,
    ModuleBuild,
    Refused,
    Waiting,
    Word,
)
from curation.execution.wire import Unfit, request_of_wire, request_to_wire, word_of_wire, word_to_wire
from curation.lifecycle.outcome import (
    Calls,
    Cancelled,
    Completed,
    Denied,
    Failed,
    FailureClass,
    Report,
    Result,
    RunKey,
    SessionFailed,
    SessionRef,
    SessionSpawned,
    StillRunning,
    Trigger,
)
from curation.wasm.limits import Limits

RUN = RunKey("uid-1", "uid-1.g3.a2", 3, 2, "v1:abc")
DENIED = EvaluatedRequest(
    module="m",
    module_digest=f"sha256:{'0' * 64}",
    trigger=Trigger.SUBMIT,
    method="POST",
    scheme="https",
    host="xn--bcher-kva.example",
    port=443,
    path="/sessions",
    query="a=%20&b=é",
)
DEEP: dict[str, Any] = {"a": [1, 2.5, None, True, "ü\u2028\u0000"], "b": {"c": {}}, "n": 2**53, "small": 1e-7}
CREDENTIAL = Credential.model_validate(
    {
        "scheme": "https",
        "host": "a.example",
        "port": 443,
        "header": "Authorization",
        "secretKeyRef": {"name": "s", "key": "k"},
    }
)
RESULTS: list[Result] = [
    SessionSpawned(SessionRef("s-1", "https://x/s-1")),
    SessionSpawned(SessionRef("s-1")),
    Completed(DEEP),
    Completed({}, "Its output is left out."),
    StillRunning(DEEP),
    StillRunning(),
    SessionFailed("out of budget"),
    Cancelled(),
    *[Failed(each, "it failed", absent=True) for each in FailureClass],
    Denied(DENIED, "no policy permits it"),
]
WORDS: list[Word] = [
    Accepted(),
    Waiting("no room"),
    Refused("too large", retryable=False),
    Left(1),
    Answered(64),
    *[
        Ended(Report(Trigger.OBSERVE, RUN, each, Calls(2, 1, 2, DENIED), "info: hi\nwarning: ho", True))
        for each in RESULTS
    ],
    Ended(Report(Trigger.CANCEL, RUN, Cancelled())),
    Lost("killed", Calls(1, 0, 1)),
    Lost("killed"),
    Lost("killed", over_limit=True),
]
REQUESTS = [
    ExecutionRequest(Trigger.SUBMIT, RUN, "team", "job", ModuleBuild("m", "sha256:0")),
    ExecutionRequest(
        Trigger.CANCEL,
        RUN,
        "team",
        "job",
        ModuleBuild("m", "sha256:0", Limits(1, 0.5, 2.5, 3, 4, 5)),
        number=7,
        labels={"a/b": "c"},
        input=DEEP,
        config={"api_url": "https://x"},
        session=SessionRef("s-1"),
        credentials=(CREDENTIAL, CREDENTIAL),
        in_pod=True,
        resumed=True,
    ),
]


def test_every_shape_is_tried() -> None:
    assert {type(word) for word in WORDS} == set(get_args(Word))
    assert {type(result) for result in RESULTS} == set(get_args(Result))


@pytest.mark.parametrize("word", WORDS, ids=lambda word: type(word).__name__)
def test_a_word_comes_back_as_it_was(word: Word) -> None:
    assert word_of_wire(word_to_wire(word)) == word


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.trigger)
def test_a_request_comes_back_as_it_was(request_: ExecutionRequest) -> None:
    assert request_of_wire(request_to_wire(request_)) == request_


def fields(document: Any, where: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The way to every object in a document."""
    found = [where] if isinstance(document, dict) else []
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return found + [way for key, inner in items for way in fields(inner, (*where, key))]


def test_a_field_that_is_not_known_is_refused_wherever_it_stands() -> None:
    """Another release may mean something by it. Models of the API read what they know, as everywhere."""
    free = {"output", "progress", "labels", "input", "config"} | {"request", "last_denied", "credentials"}
    for text, read in [
        *[(word_to_wire(word), word_of_wire) for word in WORDS],
        *[(request_to_wire(each), request_of_wire) for each in REQUESTS],
    ]:
        for way in fields(json.loads(text)):
            if free & set(way):
                continue
            document = inner = json.loads(text)
            for step in way:
                inner = inner[step]
            inner["surprise"] = 1
            with pytest.raises(Unfit, match="surprise"):
                read(json.dumps(document).encode())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"version": 2}, "version"),
        ({"version": None}, "version"),
        ({"kind": "Gone"}, "Gone"),
        ({"number": "1"}, "number"),
        ({"number": 0}, "number"),
        ({"number": None}, "number"),
    ],
)
def test_a_word_that_does_not_fit_is_refused_with_its_field(changes: dict[str, Any], says: str) -> None:
    document = {**json.loads(word_to_wire(Left(1))), **changes}
    with pytest.raises(Unfit, match=says):
        word_of_wire(json.dumps(document).encode())


@pytest.mark.parametrize("text", [b"", b"[]", b"nonsense", b"\xff", b"{}"])
def test_what_is_no_document_is_refused(text: bytes) -> None:
    for read in (word_of_wire, request_of_wire):
        with pytest.raises(Unfit):
            read(text)
