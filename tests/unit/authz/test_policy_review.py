"""What a policy object has in force: its last valid revision, remembered or recorded, and when that does not count."""

from typing import Any

import pytest

from curation.api.policy import CurationPolicy
from curation.authz.policy_check import check_policy
from curation.authz.policy_review import PolicyReview, cedar_digest
from curation.authz.policy_review import review as review_with

PERMIT = "permit (principal, action, resource);"
NARROW = 'permit (principal, action, resource) when { context.method == "GET" };'
TYPO = "permit (principal, action, resourse);"
OTHER_TYPO = "permit (principal"


def policy(
    generation: int, cedar: str, in_force: dict[str, Any] | None = None, *, uid: str = "u", deleting: bool = False
) -> CurationPolicy:
    metadata: dict[str, Any] = {"name": "p", "namespace": "ns", "uid": uid, "generation": generation}
    if deleting:
        metadata["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    status = {"inForce": in_force} if in_force else {}
    return CurationPolicy.model_validate({"metadata": metadata, "spec": {"cedar": cedar}, "status": status})


def review(version: CurationPolicy, before: PolicyReview | None) -> PolicyReview:
    return review_with(version, before, check_policy)


def recorded(generation: int, cedar: str = PERMIT, **changes: Any) -> dict[str, Any]:
    return {"uid": "u", "generation": generation, "digest": cedar_digest(cedar), "cedar": cedar, **changes}


def review_all(*versions: CurationPolicy) -> PolicyReview:
    """By one process that saw these versions."""
    reviewed = None
    for version in versions:
        reviewed = review(version, reviewed)
    assert reviewed is not None
    return reviewed


def counts(reviewed: PolicyReview) -> tuple[int, bool] | None:
    """The generation in force, and whether it counts whole."""
    return None if reviewed.in_force is None else (reviewed.in_force.generation, not reviewed.missed)


def test_a_valid_revision_is_in_force_and_is_recorded() -> None:
    reviewed = review_all(policy(3, PERMIT))
    assert (counts(reviewed), reviewed.reason, reviewed.message) == ((3, True), "Valid", "1 policy")
    record = reviewed.record()
    assert record is not None
    assert record.to_wire() == recorded(3)


def test_what_never_was_valid_has_nothing_in_force_and_says_so() -> None:
    reviewed = review_all(policy(1, "forbid (principal, action, resourse);"))
    assert (counts(reviewed), reviewed.reason, reviewed.record()) == (None, "ParseError", None)
    assert "Generation 1 is not in force" in reviewed.message
    assert "its forbids neither" in reviewed.message


@pytest.mark.parametrize("restarted", [False, True])
def test_the_last_valid_revision_stays_through_any_number_of_invalid_ones_that_were_seen(restarted: bool) -> None:
    reviewed = review(policy(1, PERMIT), None)
    for generation in range(2, 6):
        record = reviewed.record()
        assert record is not None
        version = policy(generation, TYPO if generation % 2 else OTHER_TYPO, record.to_wire())
        reviewed = review(version, None if restarted else reviewed)
        assert (counts(reviewed), reviewed.reason) == ((1, True), "ParseError")
        assert f"Generation {generation} is not in force; generation 1, the last valid one, stays" in reviewed.message


def test_a_restart_with_an_invalid_revision_changes_nothing() -> None:
    before = review_all(
        policy(1, PERMIT), policy(2, TYPO, recorded(1)), policy(3, TYPO, recorded(1, judgedGeneration=2))
    )
    after = review_all(policy(3, TYPO, recorded(1, judgedGeneration=3)))
    assert (after.in_force, after.missed) == (before.in_force, before.missed)


def test_a_valid_revision_whose_record_was_not_written_yet_stays_for_the_process_that_saw_it() -> None:
    reviewed = review_all(policy(1, PERMIT, recorded(1)), policy(2, NARROW, recorded(1)), policy(3, TYPO, recorded(1)))
    assert counts(reviewed) == (2, True)
    record = reviewed.record()
    assert record is not None
    assert record.to_wire() == recorded(2, NARROW, judgedGeneration=3)


def test_for_a_process_that_did_not_see_it_only_the_forbids_of_the_recorded_one_count() -> None:
    reviewed = review_all(policy(3, TYPO, recorded(1)))
    assert (counts(reviewed), reviewed.reason) == ((1, False), "RevisionsMissed")
    assert "only the forbids count" in reviewed.message
    assert "generation 1" in reviewed.message
    record = reviewed.record()
    assert record is not None
    assert record.to_wire() == recorded(1)


def test_a_gap_stays_one_through_later_invalid_revisions_and_restarts_until_a_valid_one() -> None:
    reviewed = review_all(policy(3, TYPO, recorded(1)), policy(4, OTHER_TYPO, recorded(1)))
    assert counts(reviewed) == (1, False)
    assert counts(review_all(policy(4, OTHER_TYPO, recorded(1)))) == (1, False)
    assert counts(review(policy(5, NARROW, recorded(1)), reviewed)) == (5, True)


def test_a_watch_that_leaves_out_a_revision_is_a_gap() -> None:
    assert counts(review_all(policy(1, PERMIT, recorded(1)), policy(3, TYPO, recorded(1)))) == (1, False)


@pytest.mark.parametrize(
    ("why", "changes"),
    [
        ("another object of this name", {"uid": "v"}),
        ("not the text that was recorded", {"digest": cedar_digest(NARROW)}),
        ("no longer valid", {"cedar": TYPO + " ", "digest": cedar_digest(TYPO + " ")}),
        ("beyond what the scan admits", {"cedar": "(" * 100, "digest": cedar_digest("(" * 100)}),
        ("of this very generation", {"generation": 2}),
        ("of a generation to come", {"generation": 7}),
        ("reviewed to a generation to come", {"judgedGeneration": 3}),
    ],
)
def test_a_record_that_cannot_be_ours_does_not_count(why: str, changes: dict[str, Any]) -> None:
    reviewed = review_all(policy(2, TYPO, {**recorded(1), **changes}))
    assert (counts(reviewed), reviewed.record()) == (None, None), why


def test_an_object_that_was_made_anew_inherits_nothing() -> None:
    reviewed = review_all(policy(1, PERMIT), policy(1, TYPO, recorded(1), uid="v"))
    assert counts(reviewed) is None


def test_what_another_operator_has_recorded_fills_a_gap_and_is_kept() -> None:
    blind = review_all(policy(3, TYPO, recorded(1)))
    assert counts(blind) == (1, False)
    later = review(policy(3, TYPO, recorded(2, NARROW, judgedGeneration=3)), blind)
    assert counts(later) == (2, True)
    assert counts(review(policy(3, TYPO), later)) == (2, True)


def test_an_operator_that_knows_more_does_not_give_way_to_a_record_that_knows_less() -> None:
    knows = review_all(policy(1, PERMIT), policy(2, NARROW), policy(3, TYPO))
    assert counts(review(policy(3, TYPO, recorded(1)), knows)) == (2, True)


@pytest.mark.parametrize("restarted", [False, True])
def test_the_deletion_of_an_invalid_revision_keeps_what_was_in_force_for_cancel(restarted: bool) -> None:
    before = review_all(policy(1, PERMIT), policy(2, TYPO, recorded(1)))
    deleted = policy(3, TYPO, recorded(1, judgedGeneration=2), deleting=True)
    reviewed = review(deleted, None if restarted else before)
    assert (counts(reviewed), reviewed.deleting) == ((1, True), True)
    missed = policy(5, TYPO, recorded(1, judgedGeneration=2), deleting=True)
    assert counts(review(missed, None)) == (1, False)


def test_a_deletion_counts_once_as_a_generation_that_changes_no_text() -> None:
    deleted = review_all(policy(1, PERMIT), policy(2, TYPO), policy(3, TYPO, deleting=True))
    assert counts(review(policy(4, OTHER_TYPO, deleting=True), deleted)) == (1, True)
    assert counts(review(policy(5, OTHER_TYPO, deleting=True), deleted)) == (1, False)


def test_objects_of_an_earlier_release_count_by_their_text_alone() -> None:
    assert counts(review_all(policy(4, PERMIT))) == (4, True)
    assert counts(review_all(policy(4, TYPO))) is None


def test_a_record_that_a_rollback_left_behind_says_nothing_of_the_revisions_after_it() -> None:
    # The older release acted on generation 3, which was valid, and wrote no record.
    assert counts(review_all(policy(4, TYPO, recorded(2)))) == (2, False)
