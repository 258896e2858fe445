"""The rig of the executors' tests, with guests in pods."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.execution.conftest import Rig
from tests.unit.execution.conftest import rig as in_process
from tests.unit.pods.rigs import PodRig, with_pods

__all__ = ["in_process"]


@pytest.fixture
async def rig(in_process: Rig, tmp_path: Path) -> AsyncIterator[PodRig]:
    async with with_pods(in_process, tmp_path) as made:
        yield made
