"""The two programs that people start: `curation-operator` (operator.py) and `kubectl-curation` (all the other modules).

`plugin.main` is the entry point of kubectl-curation. Each family of verbs has a module: `listing` (approvals, runs,
logs), `decide` (approve, deny, revoke), `edit` (rerun, suspend, resume), `explain` (why), `policy` (can-i),
`checking` (check-policy), `follow` (watch). They all go through `access` to the cluster, and through
`output` to the terminal.
"""
