"""What there is to say about a policy text. By itself, so that whoever is told it need not load Cedar."""

from dataclasses import dataclass

from curation.authz.check_result import PolicyCheck


@dataclass(frozen=True, slots=True)
class PolicyJudgement:
    """The answer, wherever it was given."""

    check: PolicyCheck
    warnings: tuple[str, ...] = ()
    """Of a valid text."""
