"""What is asked about tenants' texts and not answered in the asker's own process: see `checkers`.

`policy_judgement` is the answer, the same for the operator, for the webhook and for `kubectl curation check-policy`.
`checker` gives it in a process of its own, `checkers` has those processes.
"""
