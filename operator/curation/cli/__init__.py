"""The two programs that people start: `curation-operator` and `kubectl-curation`.

`operator` is the entry point of the first, whose `build` and `try` are in `build` and `trial`. `plugin.main` is that of
the second. Each family of its verbs has a module: `listing` (approvals, runs, logs), `decision_verbs` (approve, deny,
revoke), `edit` (rerun, suspend, resume), `explain` (why), `can_i`, `checking` (check-policy), `policy_test` (test),
`follow` (watch). Those that need a cluster reach it through `access`; all reach the terminal through `output`.
"""
