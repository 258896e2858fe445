"""Fixtures of all tests: the control plane, the running operator, the faces' variants and the template module."""

pytest_plugins = [
    "hack.controlplane.pytest_plugin",
    "tests.harness.fixtures",
    "tests.harness.template_module",
    "tests.harness.variants",
]
