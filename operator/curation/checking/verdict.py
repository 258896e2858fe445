"""What is asked about a request that waits, and the answer. By itself, so that whoever asks need not load Cedar."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from curation.api.approval import EvaluatedRequest
from curation.authz.check_result import PolicyCheck
from curation.authz.decision import CallContext, Decision
from curation.authz.grant import grant_of_wire, grant_to_wire
from curation.authz.register import CLUSTER, InForce, PolicyRegister
from curation.authz.source import Source

Json = dict[str, Any]

MAX_REASON: Final = 4096
"""Characters of a reason."""


@dataclass(frozen=True, slots=True)
class Question:
    """May this request be made now, in the context of the job's next attempt?"""

    request: EvaluatedRequest
    context: CallContext


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one question. It frees and holds a job while it is the present one, and decides no call."""

    question: Question
    revision: int
    """Of all that counts in the namespace, when it was asked."""
    allowed: bool
    reason: str
    """A sentence for people."""
    decided: bool = False
    """Whether something speaks against it, rather than nothing for it: approving alone would not help."""
    since: datetime | None = None
    until: datetime | None = None
    """It holds from `since` until before `until`: then a grant ends."""

    def holds(self, question: Question, revision: int, now: datetime) -> bool:
        """Whether it is the answer to this question now."""
        return (
            (self.question, self.revision) == (question, revision)
            and (self.since is None or now >= self.since)
            and (self.until is None or now < self.until)
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions about requests of one namespace, and what they are to be judged by."""

    counts: bytes | None
    """All that counts there: see `set_to_wire`. None: more than a checker takes."""
    questions: Sequence[Question]
    revision: int
    """Of what counts."""
    now: float
    """The server's Unix time."""


def set_to_wire(register: PolicyRegister, namespace: str) -> bytes:
    """All that counts in a namespace, for a checker."""
    of = {"namespace": register.in_force(namespace), "cluster": register.in_force(CLUSTER)}
    return json.dumps({place: _in_force(found) for place, found in of.items()}, separators=(",", ":")).encode()


def put_set(register: PolicyRegister, namespace: str, wire: bytes) -> None:
    """Put into an empty register what `set_to_wire` says."""
    read = json.loads(wire)
    for place, found in ((namespace, read["namespace"]), (CLUSTER, read["cluster"])):
        for name, policy in found["policies"].items():
            check = PolicyCheck(True, policy["count"], "Valid", "")
            ways = {"cancel_only": policy["cancelOnly"], "forbids_only": policy["forbidsOnly"]}
            register.put_checked(place, name, policy["cedar"], check, **ways)
        for name, flaw in found["flaws"].items():
            register.note_flaw(place, name, flaw)
        for grant in found["grants"]:
            register.put_grant(grant_of_wire(namespace, grant))


def questions_to_wire(questions: Sequence[Question]) -> bytes:
    """For a checker."""
    return json.dumps([_question(each) for each in questions], separators=(",", ":")).encode()


def questions_of_wire(wire: bytes) -> list[Question]:
    """See `questions_to_wire`."""
    return [
        Question(
            EvaluatedRequest.model_validate(each["request"]),
            CallContext(each["job"], each["labels"], each["generation"], each["attempt"]),
        )
        for each in json.loads(wire)
    ]


def verdict_to_wire(decision: Decision, since: datetime | None, until: datetime | None) -> Json:
    """A checker's answer to one question."""
    return {
        "allowed": decision.allowed,
        "reason": decision.reason[:MAX_REASON],
        "decided": bool(decision.policies or decision.errors),
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
    }


def verdict_of_wire(question: Question, revision: int, read: Json) -> Verdict:
    """See `verdict_to_wire`. Raises KeyError, TypeError or ValueError for what is none."""
    times = [None if read[name] is None else datetime.fromisoformat(read[name]) for name in ("since", "until")]
    if not isinstance(read["allowed"], bool) or not isinstance(read["decided"], bool):
        raise TypeError("neither yes nor no")
    return Verdict(question, revision, read["allowed"], str(read["reason"])[:MAX_REASON], read["decided"], *times)


def _in_force(found: InForce) -> Json:
    return {
        "policies": {name: _policy(source) for name, source in found.policies.items()},
        "flaws": found.flaws,
        "grants": [grant_to_wire(grant) for grant in found.grants.values()],
    }


def _policy(source: Source) -> Json:
    return {
        "cedar": source.given,
        "count": source.check.count,
        "cancelOnly": source.cancel_only,
        "forbidsOnly": source.forbids_only,
    }


def _question(question: Question) -> Json:
    context = question.context
    return {
        "request": question.request.to_wire(),
        "job": context.job,
        "labels": dict(context.labels),
        "generation": context.generation,
        "attempt": context.attempt,
    }
