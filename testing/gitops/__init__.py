"""The real GitOps controllers, built here: Flux' source-controller and kustomize-controller, and a git server for them.

`make gitops` builds them once (`build`) and tests what docs/gitops.md promises (tests/gitops_kit).
"""
