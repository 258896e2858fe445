"""The suite that every executor passes, with a worker as a real process."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.execution.conformance import ExecutorConformance
from tests.unit.execution.conftest import Rig
from tests.unit.execution.conftest import rig as in_process
from tests.unit.workers.rigs import with_workers

__all__ = ["in_process"]


class TestWorkersExecutor(ExecutorConformance):
    """Its rig has workers."""

    @pytest.fixture
    async def rig(self, in_process: Rig) -> AsyncIterator[Rig]:
        async with with_workers(in_process) as made:
            yield made
