"""Writes that another refuses are reported once, by an Event again every half an hour, and until they are taken."""

import logging
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Gauge

from curation.cluster.answers import APIError, Refused
from curation.lifecycle.event import Event
from curation.reconciler.runtime.refusals import REPORT_AGAIN_SECONDS, Refusals
from tests.unit.reconciler.disconnected import key

QUOTA = Refused(403, "Forbidden", "exceeded quota: few")


class Rig:
    """Refusals with a clock that is set, and what they reported."""

    def __init__(self) -> None:
        self.now = 0.0
        self.recorded: list[Event] = []
        self.registry = CollectorRegistry()
        gauge = Gauge("refused", "x", ["kind"], registry=self.registry)
        self.refusals = Refusals(lambda _about, event, _fields: self.recorded.append(event), gauge, lambda: self.now)

    @property
    def count(self) -> float | None:
        return self.registry.get_sample_value("refused", {"kind": "CurationJob"})


def test_a_refusal_is_logged_once_and_has_one_event_however_often_it_is_tried(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    about: dict[str, Any] = {}
    for used in range(20):
        rig.refusals.report(key(), about, "its status", Refused(403, "Forbidden", f"exceeded quota: used {used}"))
    assert len(rig.recorded) == 1
    assert "exceeded quota: used 0" in rig.recorded[0].message
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1
    assert rig.refusals.said(key(), "its status") == "403 Forbidden: exceeded quota: used 19"
    assert rig.count == 1


def test_an_event_is_recorded_again_while_it_lasts_since_events_are_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    rig.refusals.report(key(), {}, "its status", QUOTA)
    rig.now = REPORT_AGAIN_SECONDS
    rig.refusals.report(key(), {}, "its status", QUOTA)
    assert len(rig.recorded) == 2
    assert len(caplog.records) == 1


def test_once_it_is_taken_nothing_is_refused_any_more_and_the_next_refusal_is_reported() -> None:
    rig = Rig()
    rig.refusals.report(key(), {}, "its status", QUOTA)
    rig.refusals.ended(key(), "its finalizers")
    assert rig.count == 1
    rig.refusals.ended(key(), "its status")
    assert (rig.count, rig.refusals.said(key(), "its status")) == (0, "")
    rig.refusals.report(key(), {}, "its status", QUOTA)
    assert len(rig.recorded) == 2
    rig.refusals.forget(key())
    assert rig.count == 0


@pytest.mark.parametrize(
    ("code", "message", "refuses"),
    [
        (403, "exceeded quota", True),
        (422, "denied", True),
        (413, "too large", True),
        (500, "etcdserver: request is too large", True),
        (500, "etcdserver: mvcc: database space exceeded", True),
        (500, "etcdserver: leader changed", False),
        (429, "slow down", False),
        (409, "conflict", False),
        (404, "not found", False),
        (503, "unavailable", False),
    ],
)
def test_who_objects_is_distinguished_from_a_server_in_trouble(code: int, message: str, refuses: bool) -> None:
    assert (APIError(code, "Reason", message).refusal is not None) == refuses
