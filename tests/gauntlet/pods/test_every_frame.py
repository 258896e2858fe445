"""A worker that is killed before, or in the midst of, each frame that only runs in pods have.

After each of them: `tests/unit/pods/test_every_frame.py`.
"""

from pathlib import Path

import pytest

from tests.unit.execution.conftest import Rig
from tests.unit.pods.frame_stories import joined, parted, told_of_a_loss


async def test_when_a_pod_joins_it_another_one_follows(in_process: Rig, tmp_path: Path) -> None:
    await joined(in_process, tmp_path, "before")


async def test_when_it_hears_that_a_pod_is_gone_that_stays_so(in_process: Rig, tmp_path: Path) -> None:
    await told_of_a_loss(in_process, tmp_path, "before")


@pytest.mark.parametrize("when", ["before", "half"])
async def test_when_it_has_parted_from_its_pods_nothing_is_lost(in_process: Rig, tmp_path: Path, when: str) -> None:
    await parted(in_process, tmp_path, when)
