"""What there is to say about a policy text: whether it is valid, and what in it is most likely not meant."""

from curation.authz.policy_check import check_policy
from curation.checking.judgement import PolicyJudgement
from curation.checking.policy_lint import lint_policy


def judge_policy(text: str, *, cluster: bool, lint: bool = True) -> PolicyJudgement:
    """Judge a text; `cluster` says that it counts in every namespace. Takes up to 0.5 s for a hostile one."""
    check = check_policy(text)
    return PolicyJudgement(check, tuple(lint_policy(text, cluster=cluster)) if lint and check.valid else ())
