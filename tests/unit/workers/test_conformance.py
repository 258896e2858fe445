"""The suite that every executor passes, with a worker as a real process."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from curation.egress.reach import Reach
from curation.workers.cell import Settings
from curation.workers.executor import WorkersExecutor
from tests.unit.execution.conformance import ExecutorConformance
from tests.unit.execution.conftest import Rig
from tests.unit.execution.conftest import rig as in_process

__all__ = ["in_process"]


class TestWorkersExecutor(ExecutorConformance):
    """Its rig has workers."""

    @pytest.fixture
    async def rig(self, in_process: Rig) -> AsyncIterator[Rig]:
        settings = Settings(Reach(allow=("127.0.0.0/8",)))
        executor = WorkersExecutor(
            in_process.modules, in_process.book, in_process.stock, settings, observer=in_process.notes
        )
        yield replace(in_process, executor=executor)
        in_process.peer.go_on.set()
        await executor.drain(grace=5)
        assert executor.workers == {}
