"""What one policy object has in force: its newest revision if that is valid, else the last valid one that is known.

An invalid revision never takes effect. The last valid one is known from this process's own memory, or from
``status.inForce``, which only the operator writes. It counts whole only while every revision after it was
reviewed and found invalid: one that nobody has seen may have withdrawn a permission, and then its forbids alone count.
No I/O; called by the policy reconciler and by `kubectl curation why` and `can-i`, which so answer alike.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from curation.api.policy import ClusterCurationPolicy, CurationPolicy, PolicyInForce
from curation.authz.check_result import PolicyCheck
from curation.authz.register import PolicyRegister

_UNKNOWN = PolicyCheck(False, 0, "ParseError", "not checked yet")

ReviewReason = Literal["Valid", "ParseError", "ValidationError", "RevisionsMissed"]


@dataclass(frozen=True, slots=True)
class Revision:
    """A valid revision that is in force, and up to which generation every later one was found invalid."""

    generation: int
    cedar: str
    check: PolicyCheck
    reviewed_to: int


@dataclass(frozen=True, slots=True)
class PolicyReview:
    """What a review of one version of a policy object has found."""

    uid: str
    generation: int
    deleting: bool
    text: str
    check: PolicyCheck
    """Of the newest revision, ``text``."""
    in_force: Revision | None
    """The revision that counts; None where none is known to have been valid."""

    @property
    def missed(self) -> bool:
        """Whether there was a revision between the one in force and the newest that nobody has reviewed."""
        return self.in_force is not None and self.in_force.reviewed_to < self.generation

    @property
    def reason(self) -> ReviewReason:
        """The reason of the Ready condition."""
        return "RevisionsMissed" if self.missed else self.check.reason

    @property
    def message(self) -> str:
        """The message of the Ready condition: what is wrong, and what counts meanwhile."""
        if self.check.valid:
            return self.check.message
        return f"{self.check.message}. {self.consequence}"

    @property
    def consequence(self) -> str:
        """One sentence on what counts of an object whose newest revision is invalid; empty if it is valid."""
        if self.check.valid:
            return ""
        newest, old = f"Generation {self.generation} is not in force", self.in_force
        if old is None:
            return f"{newest}, and no earlier valid one is known: nothing of this object counts, its forbids neither."
        if not self.missed:
            return f"{newest}; generation {old.generation}, the last valid one, stays in force."
        return (
            f"{newest}, and generations after {old.reviewed_to} were not all seen: of generation {old.generation}, the "
            "last valid one that was recorded, only the forbids count, since a later one may have withdrawn a permit."
        )

    def record(self) -> PolicyInForce | None:
        """What ``status.inForce`` is to say."""
        revision = self.in_force
        if revision is None:
            return None
        return PolicyInForce.model_construct(
            uid=self.uid,
            generation=revision.generation,
            judged_generation=revision.reviewed_to if revision.reviewed_to > revision.generation else None,
            digest=cedar_digest(revision.cedar),
            cedar=revision.cedar,
        )


def cedar_digest(text: str) -> str:
    """``sha256:`` and the digest of a policy text."""
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def unknown_texts(policy: CurationPolicy | ClusterCurationPolicy, before: PolicyReview | None) -> list[str]:
    """The texts that `review` has to check for this version, since the review before it has not."""
    texts = list[str]()

    def note(text: str) -> PolicyCheck:
        texts.append(text)
        return _UNKNOWN

    review(policy, before, note)
    return texts


def review(
    policy: CurationPolicy | ClusterCurationPolicy,
    before: PolicyReview | None,
    check_text: Callable[[str], PolicyCheck],
) -> PolicyReview:
    """Review a version of an object; ``before`` is the review of the version before it, if this process saw one.

    ``check_text`` says whether a text is valid; it is asked of those that ``before`` says nothing about.
    """
    meta, text = policy.metadata, policy.spec.cedar
    deleting = meta.deletion_timestamp is not None
    if before is not None and before.uid != meta.uid:
        before = None
    check = before.check if before is not None and before.text == text else check_text(text)
    if check.valid:
        revision = Revision(meta.generation, text, check, meta.generation)
        return PolicyReview(meta.uid, meta.generation, deleting, text, check, revision)
    recorded = _recorded(policy, before, check_text)
    known = (
        _carried(before.in_force if before is not None else None, meta.generation, deleting, before),
        _carried(recorded, meta.generation, deleting, None),
    )
    # Another operator may have seen more than this one: the later revision, then the one with fewer gaps after it.
    best = max(
        (each for each in known if each is not None), key=lambda each: (each.generation, each.reviewed_to), default=None
    )
    return PolicyReview(meta.uid, meta.generation, deleting, text, check, best)


def put_in_force(book: PolicyRegister, namespace: str | None, name: str, reviewed: PolicyReview) -> None:
    """Put into the book what the review has found; namespace None is the cluster."""
    revision = reviewed.in_force
    if revision is None:
        book.remove_policy(namespace, name)
    else:
        book.put_checked(
            namespace,
            name,
            revision.cedar,
            revision.check,
            cancel_only=reviewed.deleting,
            forbids_only=reviewed.missed,
        )
    flawed = not reviewed.check.valid and not reviewed.deleting
    book.note_flaw(namespace, name, "is invalid, see its status" if flawed else "")


def _recorded(
    policy: CurationPolicy | ClusterCurationPolicy,
    before: PolicyReview | None,
    check_text: Callable[[str], PolicyCheck],
) -> Revision | None:
    """The revision that the status records, if that is this very object's and is still valid."""
    found, meta = policy.status.in_force, policy.metadata
    if found is None or found.uid != meta.uid or not 0 < found.generation < meta.generation:
        return None
    if found.cedar == policy.spec.cedar or found.digest != cedar_digest(found.cedar):
        return None
    known = before.in_force if before is not None else None
    check = known.check if known is not None and known.cedar == found.cedar else check_text(found.cedar)
    reviewed_to = max(found.generation, found.judged_generation or 0)
    if not check.valid or reviewed_to > meta.generation:
        return None
    return Revision(found.generation, found.cedar, check, reviewed_to)


def _carried(
    revision: Revision | None, generation: int, deleting: bool, before: PolicyReview | None
) -> Revision | None:
    """The revision as of this generation: reviewed up to it, unless one between the two was not seen."""
    if revision is None:
        return None
    # The deletion itself is one generation, and changes no text.
    seen_deleting = before is not None and before.deleting
    unseen = generation - revision.reviewed_to - (1 if deleting and not seen_deleting else 0)
    if unseen > 1:
        return revision
    return Revision(revision.generation, revision.cedar, revision.check, generation)
