"""Fixtures of all tests: the control plane, the running operator, the faces' variants and the template module."""

import signal
from typing import Final

import pytest

# Trap: what a shell starts in the background ignores SIGINT, and so would every program that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = [
    "testing.controlplane.pytest_plugin",
    "tests.harness.fixtures",
    "tests.harness.template_module",
    "tests.harness.variants",
]

MAX_SECONDS: Final = 1800.0
"""Of one test without its fixtures. Far above what the longest healthy one takes, also where several suites share two
cores, and below the two hours of a job of CI: so a test that hangs is named, with the stack of each thread."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Bound each test that has no bound of its own."""
    if not config.pluginmanager.hasplugin("timeout"):
        return  # an environment that was made before the plugin was added
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(MAX_SECONDS, func_only=True))
