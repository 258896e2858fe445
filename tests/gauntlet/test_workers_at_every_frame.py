"""A worker that is killed, stopped, or stopped and continued at every frame: before, in the midst of it, and after.

Stopped: for as long as a worker may be silent, after which it is killed. Continued: once its runs have been stopped and
what allowed their calls is withdrawn. A short form is in `tests/unit/workers/test_every_frame.py`.
"""

import pytest

from tests.unit.execution.conftest import Rig
from tests.unit.execution.conftest import rig as in_process
from tests.unit.workers.frame_stories import CONTINUED, KILLED, POINTS, STOPPED, all_end_well, be_quick

__all__ = ["in_process"]
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("how", [KILLED, STOPPED, CONTINUED])
async def test_its_own_runs_alone_are_lost_and_no_call_that_left_is_forgotten(
    in_process: Rig, monkeypatch: pytest.MonkeyPatch, how: str, part: int
) -> None:
    be_quick(monkeypatch)
    await all_end_well(in_process, how, POINTS[part::PARTS])
