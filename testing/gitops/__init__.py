"""The real GitOps controllers, built here: Flux' source-controller and kustomize-controller, and a git server for them.

`make gitops` builds them once (`build`) and plays what docs/gitops.md promises as tests (tests/gitops_kit).
"""
