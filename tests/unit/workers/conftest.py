"""The rig of the executors' tests, with workers."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.execution.conftest import Rig
from tests.unit.execution.conftest import rig as in_process
from tests.unit.workers.rigs import with_workers

__all__ = ["in_process"]


@pytest.fixture
async def rig(in_process: Rig) -> AsyncIterator[Rig]:
    async with with_workers(in_process) as made:
        yield made
