"""Fixtures of every test: the local control plane, started once for all workers of a run and only if a test needs it."""

pytest_plugins = ["hack.controlplane.pytest_plugin"]
