"""The transition table itself: what it allows, and that the terminal phases are absorbing in it."""

import itertools

import pytest

from curation.api.names import Phase
from curation.lifecycle.table import TABLE, Cause, IllegalTransitionError, check

ALLOWED = {
    (Cause.SEEN, None, "Queued"),
    (Cause.CLAIMED, None, "Submitted"),
    (Cause.CLAIMED, "Queued", "Submitted"),
    (Cause.SESSION_SPAWNED, "Submitted", "Running"),
    (Cause.COMPLETED, "Submitted", "Completed"),
    (Cause.DENIED_WAITS, "Submitted", "AwaitingApproval"),
    (Cause.DENIED_FAILS, "Submitted", "Failed"),
    (Cause.RETRY, "Submitted", "Queued"),
    (Cause.FAILED, "Submitted", "Failed"),
    (Cause.HOLDER_GONE, "Submitted", "Submitted"),
    (Cause.HOLDER_GONE, "Submitted", "Queued"),
    (Cause.ALLOWED, "AwaitingApproval", "Queued"),
    (Cause.APPROVAL_ENDED, "AwaitingApproval", "Failed"),
    (Cause.SESSION_COMPLETED, "Running", "Completed"),
    (Cause.SESSION_FAILED, "Running", "Failed"),
    *((Cause.TIMEOUT, phase, "Failed") for phase in ("Queued", "Submitted", "AwaitingApproval", "Running")),
    *((Cause.TEMPLATE_CHANGED, phase, to) for phase in (None, *Phase) for to in ("Queued", "Submitted")),
    *((Cause.SUSPENDED, p, "Queued") for p in (None, "Queued", "Submitted", "AwaitingApproval", "Running")),
    *((Cause.INVALID_SPEC, p, "Failed") for p in (None, "Queued", "Submitted", "AwaitingApproval", "Running")),
}
"""docs/architecture.md, row by row."""


def test_every_cause_is_in_the_table() -> None:
    assert set(TABLE) == set(Cause)


@pytest.mark.parametrize("cause", Cause)
def test_a_transition_is_allowed_iff_the_design_has_it(cause: Cause) -> None:
    for source, target in itertools.product((None, *Phase), Phase):
        allowed = (cause, source, target) in ALLOWED
        if allowed:
            check(cause, source, target)
        else:
            with pytest.raises(IllegalTransitionError, match=target):
                check(cause, source, target)


def test_only_a_changed_template_leaves_a_terminal_phase() -> None:
    leaving = {cause for cause, (sources, _) in TABLE.items() if sources & {Phase.COMPLETED, Phase.FAILED}}
    assert leaving == {Cause.TEMPLATE_CHANGED}
