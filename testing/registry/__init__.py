"""A real registry (CNCF distribution), a real client (oras) and the real cosign for tests, built from Go modules once.

`make registry` builds them (`build`) and tests modules in three languages with them (tests/registry_kit).
"""
