"""The tests of jobs, with a world whose jobs run in pods."""

import pytest

from tests.harness.pod_fixtures import plane, pods, whole_plane
from tests.harness.pods import Pods, PodWorld

__all__ = ["plane", "pods", "whole_plane"]


@pytest.fixture
def world(pods: Pods) -> PodWorld:
    """In place of the world whose guests run beside its workers."""
    pods.world.inherits_at_once = True
    return pods.world
