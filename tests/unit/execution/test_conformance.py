"""The suite of `conformance`, for each executor that exists."""

from tests.unit.execution.conformance import ExecutorConformance


class TestInProcessExecutor(ExecutorConformance):
    """Its rig is the one of this folder."""
