"""How many events an object may have, and how long their text may be."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.cluster import events
from curation.cluster.answers import Refused
from curation.cluster.clock import ServerClock
from curation.cluster.event_limits import SpamFilter, fit
from curation.cluster.events import EventRecorder
from testing.clock import SetClock


def test_an_object_has_a_burst_of_25_and_then_one_in_five_minutes() -> None:
    clock = SetClock()
    spam = SpamFilter(clock)
    assert [spam.allows("u") for _ in range(30)] == [True] * 25 + [False] * 5
    clock.now += 299
    assert not spam.allows("u")
    clock.now += 2
    assert spam.allows("u")
    assert not spam.allows("u")


def test_a_long_silence_earns_no_more_than_the_burst() -> None:
    clock = SetClock()
    spam = SpamFilter(clock)
    spam.allows("u")
    clock.now += 1e7
    assert [spam.allows("u") for _ in range(26)] == [True] * 25 + [False]


def test_one_object_does_not_use_up_the_events_of_another() -> None:
    spam = SpamFilter(SetClock())
    while spam.allows("u1"):
        pass
    assert spam.allows("u2")


def test_the_buckets_are_bounded() -> None:
    spam = SpamFilter(SetClock(), burst=1, objects=2)
    assert spam.allows("u1")
    assert not spam.allows("u1")
    spam.allows("u2")
    spam.allows("u3")
    assert spam.allows("u1")  # forgotten, so full again


@given(st.text(max_size=60), st.integers(3, 40))
def test_a_text_is_cut_between_characters_to_the_size(text: str, size: int) -> None:
    cut = fit(text, size)
    assert len(cut.encode()) <= size
    assert cut == text or (cut.endswith("...") and text.startswith(cut[:-3]))


@pytest.mark.parametrize(("text", "size", "expected"), [("abc", 3, "abc"), ("abcd", 3, "..."), ("aüb", 4, "aüb")])
def test_a_text_that_fits_is_left_alone(text: str, size: int, expected: str) -> None:
    assert fit(text, size) == expected


def test_of_more_namespaces_that_take_no_events_than_are_remembered_those_of_late_are_not_reported_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "REMEMBERED_EVENTS", 2)
    nobody: Any = None
    recorder = EventRecorder(nobody, nobody, identity="o", clock=ServerClock())
    for namespace in ("a", "b", "a", "c", "a", "b"):
        metadata = {"name": "j", "namespace": namespace, "uid": namespace}
        regarding = {"apiVersion": "v1", "kind": "CurationJob", "metadata": metadata}
        refused = Refused(403, "Forbidden", "exceeded quota")
        recorder._refused(recorder._begin(regarding, "Submitted", "m", "Submit", "Normal", 0.0), refused)
    logged = [line.getMessage().split()[7].rstrip(",") for line in caplog.records if line.levelname == "WARNING"]
    assert logged == ["a", "b", "c", "b"]
