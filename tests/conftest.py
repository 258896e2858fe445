"""Fixtures of all tests: the control plane, the running operator, the faces' variants and the template module."""

import signal

# Trap: what a shell starts in the background ignores SIGINT, and so would every program that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = [
    "testing.controlplane.pytest_plugin",
    "tests.harness.fixtures",
    "tests.harness.template_module",
    "tests.harness.variants",
]
