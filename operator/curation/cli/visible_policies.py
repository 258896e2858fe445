"""The gate, asked from here: the operator's own code decides by what this user may read of policies and grants.

Nothing is asked of the operator, so a decision is explained even while it is down. What the user may not read is
said, since the answer can then be another one.
"""

from dataclasses import dataclass

from curation.api.approval import ApprovalDecision, CurationApproval, EvaluatedRequest
from curation.api.policy import CurationPolicy
from curation.api.reading import Unreadable, read
from curation.authz.book import PolicyBook
from curation.authz.decision import CallContext, Decision
from curation.authz.gate import Gate
from curation.authz.grant import Grant
from curation.authz.policy_check import check_policy
from curation.authz.policy_review import put_in_force, review
from curation.cli.access import Cluster, parse_all, unreadable_line
from curation.cli.errors import Forbidden
from curation.cluster.answers import Document
from curation.cluster.resources import APPROVALS, CLUSTER_POLICIES, POLICIES, ResourceKind
from curation.lifecycle.deadlines import HELD_AT_MOST


@dataclass(frozen=True)
class VisiblePolicies:
    """What is in force in a namespace, as far as this user can see."""

    namespace: str
    gate: Gate
    approvals: tuple[CurationApproval, ...]
    unread: tuple[str, ...]
    """What could not be read, one sentence each: the decision may be another one because of it."""
    invalid: tuple[str, ...]
    """Policies whose newest revision is invalid, with why, and what counts of each instead."""
    going: tuple[str, ...] = ()
    """Policies that are being deleted and still count for Cancel, and until when."""

    def authorize(self, request: EvaluatedRequest, context: CallContext) -> Decision:
        """Decide one request, now."""
        return self.gate.authorize(self.namespace, request, context)

    def approval(self, name: str) -> CurationApproval | None:
        """The approval of this name, if it was read."""
        return next((approval for approval in self.approvals if approval.metadata.name == name), None)


async def read_policies(cluster: Cluster) -> VisiblePolicies:
    """Read the policies of the namespace and of the cluster, and the approvals of the namespace."""
    book, unread, invalid, going = PolicyBook(), list[str](), list[str](), list[str]()
    for kind, effect in (
        (POLICIES, "the policies of this namespace are left out"),
        (CLUSTER_POLICIES, "cluster policies are left out, and one of them may permit or forbid this call"),
    ):
        for document in await _read(cluster, kind, effect, unread):
            try:
                policy = read(CurationPolicy, document)
            except Unreadable as error:
                unread.append(unreadable_line(CurationPolicy, document, str(error), "it is left out"))
                continue
            reviewed, name = review(policy, None, check_policy), policy.metadata.name
            put_in_force(book, policy.metadata.namespace or None, name, reviewed)
            if reviewed.deleting and reviewed.in_force is not None and policy.metadata.deletion_timestamp is not None:
                until = policy.metadata.deletion_timestamp + HELD_AT_MOST
                going.append(
                    f"{cluster.named(kind, name)} is being deleted, and counts for Cancel until "
                    f"{until:%Y-%m-%d %H:%M:%SZ} at the latest"
                )
            if not reviewed.check.valid and not reviewed.deleting:
                invalid.append(f"{cluster.named(kind, name)}: {reviewed.reason}: {reviewed.message}")
    effect = "grants by approval are left out"
    readable, unreadable = parse_all(CurationApproval, await _read(cluster, APPROVALS, effect, unread))
    approvals = [approval for _, approval in readable]
    for document, problem in unreadable:
        unread.append(unreadable_line(CurationApproval, document, problem, "it grants nothing"))
    for approval in approvals:
        spec = approval.spec
        if spec.decision is ApprovalDecision.APPROVED and approval.metadata.deletion_timestamp is None:
            book.put_grant(Grant.of(approval))
    return VisiblePolicies(
        cluster.namespace, Gate(book, cluster.now), tuple(approvals), tuple(unread), tuple(invalid), tuple(going)
    )


async def _read(cluster: Cluster, kind: ResourceKind, effect: str, unread: list[str]) -> list[Document]:
    try:
        return await cluster.list(kind)
    except Forbidden:
        unread.append(f"you may not list {kind.plural}: {effect}")
        return []
