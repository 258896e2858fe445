"""A worker that is killed at each frame that it hears or says, once it has heard or said it.

The frames are taken from the wire itself, so that a new one without a story fails. All the other points, and workers
that are stopped, are in `tests/gauntlet/test_workers_at_every_frame.py`.
"""

import pytest

from curation.workers.frames import FROM_WORKER, TO_WORKER
from tests.unit.execution.conftest import Rig
from tests.unit.execution.conftest import rig as in_process
from tests.unit.workers.frame_stories import KILLED, OF_PODS, POINTS, STORIES, all_end_well, be_quick

__all__ = ["in_process"]


def test_each_frame_has_a_story() -> None:
    assert STORIES.keys() | OF_PODS == {*TO_WORKER.kinds, *FROM_WORKER.kinds}


async def test_a_worker_that_is_killed_after_any_frame_costs_its_own_runs_alone_and_nothing_is_miscounted(
    in_process: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_quick(monkeypatch)
    await all_end_well(in_process, KILLED, [point for point in POINTS if point[1:] == ("after", 1)])
