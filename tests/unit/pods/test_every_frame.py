"""A worker that is killed at each frame that only runs in pods have: the run goes on, and no call is made twice.

All other points are in `tests/gauntlet/pods`.
"""

from pathlib import Path

from curation.workers import frames
from tests.unit.execution.conftest import Rig
from tests.unit.execution.conftest import rig as in_process
from tests.unit.pods.frame_stories import joined, parted, told_of_a_loss
from tests.unit.workers.frame_stories import OF_PODS

__all__ = ["in_process"]


def test_each_frame_has_a_story() -> None:
    assert {frames.Joined, frames.Lose, frames.Parted} == OF_PODS


async def test_a_worker_that_is_killed_when_a_pod_has_joined_it_is_followed_by_another_one(
    in_process: Rig, tmp_path: Path
) -> None:
    await joined(in_process, tmp_path, "after")


async def test_a_worker_that_is_killed_when_it_has_heard_that_a_pod_is_gone_changes_nothing_of_that(
    in_process: Rig, tmp_path: Path
) -> None:
    await told_of_a_loss(in_process, tmp_path, "after")


async def test_a_worker_that_is_killed_when_it_has_parted_from_its_pods_loses_nothing(
    in_process: Rig, tmp_path: Path
) -> None:
    await parted(in_process, tmp_path, "after")
