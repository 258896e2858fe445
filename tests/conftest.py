"""Fixtures of all tests: the control plane (`hack.controlplane`) and the running operator (`tests.harness`)."""

pytest_plugins = ["hack.controlplane.pytest_plugin", "tests.harness.fixtures", "tests.harness.template_module"]
