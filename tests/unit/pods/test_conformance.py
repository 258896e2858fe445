"""The suite that every executor passes, with guests in pods: a carrier, the door and a worker as real processes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from curation.execution.seam import Answered, Ended, Lost
from tests.guests.wat import Script
from tests.unit.execution.conformance import DONE, ExecutorConformance, held, post
from tests.unit.execution.conftest import GENEROUS, Rig, ended
from tests.unit.execution.conftest import rig as in_process
from tests.unit.pods.rigs import PodRig, with_pods

__all__ = ["in_process"]


class TestGuestsInPods(ExecutorConformance):
    """Its rig has pods."""

    @pytest.fixture
    async def rig(self, in_process: Rig, tmp_path: Path) -> AsyncIterator[PodRig]:
        async with with_pods(in_process, tmp_path) as made:
            yield made

    async def test_a_drain_awaits_the_wire_and_what_is_started_after_it_ends_at_once(self, rig: Rig) -> None:
        """What is under way goes on in its pod: nothing is said of it any more, but that its call was answered."""
        heard = rig.start(held(rig).call(post(rig, "/more")).ok(DONE))
        await rig.peer.reached("/hold")
        draining = asyncio.create_task(rig.executor.drain(GENEROUS))
        await asyncio.sleep(0)
        rig.peer.go_on.set()
        await draining
        late = await ended(rig.start(Script().call(post(rig, "/late")).ok(DONE)))
        assert late.dead
        assert Answered(1) in heard.words
        assert not [word for word in heard.words if isinstance(word, Ended | Lost)]
        assert rig.peer.count("/late") == 0
