"""What approvals and decisions show: who asked, who approved, and what becomes of the jobs that wait."""

from datetime import UTC, datetime
from typing import Any

import pytest

from curation.api.approval import CurationApproval
from curation.cli.decided import decider
from curation.cli.listing import _asked_by


def _approval(decision: str, by: str | None = None, **status: Any) -> CurationApproval:
    request = {
        "module": "m",
        "moduleDigest": "sha256:x",
        "trigger": "Submit",
        "method": "POST",
        "scheme": "https",
        "host": "h",
        "port": 443,
        "path": "/",
    }
    created = datetime(2030, 1, 1, tzinfo=UTC)
    spec = {"request": request, "requestDigest": "0" * 64, "decision": decision, "decidedBy": by}
    metadata = {"name": "m-1", "namespace": "demo", "creationTimestamp": created}
    return CurationApproval.model_validate({"metadata": metadata, "spec": spec, "status": status})


@pytest.mark.parametrize(
    ("requesters", "shown"), [((), ""), (("ada",), "ada"), (("ada", "bob", "cyd"), "ada and 2 more")]
)
def test_who_asked_is_shown_in_one_cell(requesters: tuple[str, ...], shown: str) -> None:
    assert _asked_by(requesters) == shown


@pytest.mark.parametrize(
    ("approval", "shown"),
    [
        (_approval("Pending"), ""),
        (_approval("Approved", "ada", approvedBy="ada"), "ada"),
        (_approval("Revoked", "bob", approvedBy="ada"), "bob (approved by ada)"),
        (_approval("Revoked", "bob"), "bob"),
        (_approval("Denied", "bob"), "bob"),
    ],
)
def test_a_revoked_approval_still_says_who_approved_it(approval: CurationApproval, shown: str) -> None:
    assert decider(approval) == shown
