"""The rig of the executors' tests, with guests in pods."""

from tests.unit.pods.conftest import in_process, rig

__all__ = ["in_process", "rig"]
