"""Fixtures of all tests: the control plane (`hack.controlplane`), the running operator and the faces' variants."""

pytest_plugins = ["hack.controlplane.pytest_plugin", "tests.harness.fixtures", "tests.harness.variants"]
