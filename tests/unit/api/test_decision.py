"""A person's decision: every transition, for the command line, the dashboard and the Python client alike."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from curation.api.approval import ApprovalDecision, CurationApproval, Scope, request_digest
from curation.api.decision import Decision, Obstacle, Undecidable, decided_fields
from tests.unit.lifecycle.builders import request

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER, EARLIER = NOW + timedelta(hours=1), NOW - timedelta(hours=1)
PENDING, APPROVED, DENIED, REVOKED = (ApprovalDecision[name] for name in ("PENDING", "APPROVED", "DENIED", "REVOKED"))


def approval(decision: ApprovalDecision, **spec: Any) -> CurationApproval:
    asked = {"request": request().to_wire(), "requestDigest": request_digest(request())}
    return CurationApproval.model_validate(
        {
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1", "generation": 1},
            "spec": {**asked, "decision": decision, **spec},
        }
    )


@pytest.mark.parametrize(
    ("wanted", "fields"),
    [
        (Decision(APPROVED), {"decision": "Approved", "scope": "Request"}),
        (Decision(APPROVED, Scope.HOST), {"decision": "Approved", "scope": "Host"}),
        (
            Decision(APPROVED, Scope.PATH, LATER, comment="ok"),
            {"decision": "Approved", "scope": "Path", "comment": "ok", "expiresAt": "2026-01-01T01:00:00Z"},
        ),
        (Decision(APPROVED, never_ends=True), {"decision": "Approved", "scope": "Request", "neverExpires": True}),
        (Decision(DENIED, comment="no"), {"decision": "Denied", "comment": "no"}),
    ],
)
def test_a_pending_approval_is_decided_with_all_that_was_said(wanted: Decision, fields: dict[str, Any]) -> None:
    assert decided_fields(approval(PENDING), wanted, NOW) == fields


def test_a_grant_is_revoked_and_what_was_said_to_it_is_not_said_to_that() -> None:
    granted = approval(APPROVED, scope="Host", comment="ok")
    assert decided_fields(granted, Decision(REVOKED), NOW) == {"decision": "Revoked", "comment": None}
    assert decided_fields(granted, Decision(REVOKED, comment="over"), NOW) == {"decision": "Revoked", "comment": "over"}


@pytest.mark.parametrize(
    ("current", "wanted"),
    [
        (approval(APPROVED, scope="Host"), Decision(APPROVED)),
        (approval(APPROVED, scope="Host"), Decision(APPROVED, Scope.HOST)),
        (approval(APPROVED, scope="Host", expiresAt="2026-01-01T01:00:00Z"), Decision(APPROVED, None, LATER)),
        (approval(APPROVED, scope="Host", neverExpires=True), Decision(APPROVED, never_ends=True)),
        (approval(APPROVED, scope="Host", comment="ok"), Decision(APPROVED, comment="ok")),
        (approval(DENIED), Decision(DENIED)),
        (approval(REVOKED), Decision(REVOKED)),
    ],
)
def test_what_an_approval_says_already_is_not_written_again(current: CurationApproval, wanted: Decision) -> None:
    assert decided_fields(current, wanted, NOW) is None


@pytest.mark.parametrize(
    ("current", "wanted", "obstacle"),
    [
        (approval(PENDING), Decision(REVOKED), Obstacle.GRANTS_NOTHING),
        (approval(APPROVED, scope="Host"), Decision(DENIED), Obstacle.IS_GRANTED),
        (approval(APPROVED, expiresAt="2025-12-31T23:00:00Z"), Decision(APPROVED), Obstacle.HAS_EXPIRED),
        (approval(APPROVED, scope="Host"), Decision(APPROVED, Scope.PATH), Obstacle.OTHERWISE),
        (approval(APPROVED, scope="Host"), Decision(APPROVED, None, LATER), Obstacle.OTHERWISE),
        (approval(APPROVED, scope="Host"), Decision(APPROVED, never_ends=True), Obstacle.OTHERWISE),
        (approval(APPROVED, scope="Host"), Decision(APPROVED, comment="more"), Obstacle.OTHERWISE),
        (approval(DENIED), Decision(APPROVED), Obstacle.FINAL),
        (approval(DENIED), Decision(REVOKED), Obstacle.FINAL),
        (approval(REVOKED), Decision(APPROVED), Obstacle.FINAL),
        (approval(REVOKED), Decision(DENIED), Obstacle.FINAL),
    ],
)
def test_what_cannot_be_decided_has_one_reason(current: CurationApproval, wanted: Decision, obstacle: Obstacle) -> None:
    with pytest.raises(Undecidable) as error:
        decided_fields(current, wanted, NOW)
    assert error.value.obstacle is obstacle
