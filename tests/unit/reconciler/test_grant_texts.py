"""The Cedar texts of approvals: one question for each version, none that keeps a status from being written."""

import pytest

from curation.api.approval import CurationApproval, request_digest
from curation.authz.grant import Grant
from curation.authz.grant_text import grant_text
from curation.checking.checkers import CheckerLost
from curation.reconciler.approvals.grant_texts import GrantTexts
from tests.unit.reconciler.test_grants import SUBMIT


def approval(generation: int = 1) -> CurationApproval:
    metadata = {"name": "m-1", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": generation}
    spec = {"request": SUBMIT.to_wire(), "requestDigest": request_digest(SUBMIT)}
    return CurationApproval.model_validate({"metadata": metadata, "spec": spec})


async def test_a_text_is_asked_for_once_for_each_version() -> None:
    asked: list[str] = []

    async def write(grant: Grant) -> str:
        asked.append(grant.name)
        return grant_text(grant)

    texts = GrantTexts(write)
    first = await texts.of(approval())
    assert first == await texts.of(approval()) == grant_text(Grant.of(approval()))
    await texts.of(approval(2))
    assert asked == ["m-1", "m-1"]


async def test_without_a_checker_there_is_no_text_now_and_one_later(caplog: pytest.LogCaptureFixture) -> None:
    lost = True

    async def write(grant: Grant) -> str:
        if lost:
            raise CheckerLost("no checker can be started")
        return grant_text(grant)

    texts = GrantTexts(write)
    assert await texts.of(approval()) is None
    assert "ns/m-1 is not known yet: no checker can be started" in caplog.text
    lost = False
    assert await texts.of(approval()) == grant_text(Grant.of(approval()))
