"""A template that answers nothing any more is replaced: else nobody would get a child, nor hear of the end of one."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from curation.isolation import nursery as under_test
from curation.isolation.child import Child
from curation.isolation.hardening import Hardening
from curation.isolation.nursery import FORKS, Nursery
from tests.peers.children import FROM_CHILD, TO_CHILD, Answer, Ask
from tests.unit.isolation.test_children import until

pytestmark = pytest.mark.skipif(not FORKS, reason="there are no templates here")
SERVED = "tests.peers.children:served"


class Grown:
    """A child that was forked, and whether it has answered."""

    def __init__(self, nursery: Nursery) -> None:
        self.answered = asyncio.Event()
        self.child = Child(
            SERVED, Hardening(), to_child=TO_CHILD, from_child=FROM_CHILD, on_frame=self._hear, start=nursery.start
        )
        self.child.send(Ask(number=1))

    def _hear(self, frame: object) -> None:
        assert isinstance(frame, Answer)
        self.answered.set()


@pytest.fixture
async def nursery() -> AsyncIterator[Nursery]:
    made = Nursery("tests.peers.children:template")
    yield made
    async with asyncio.timeout(60):
        await made.close()


async def stopped(nursery: Nursery) -> Grown:
    """A child of a template that is stopped after that."""
    grown = Grown(nursery)
    async with asyncio.timeout(60):
        await grown.answered.wait()
    assert nursery.template_pid is not None
    os.kill(nursery.template_pid, signal.SIGSTOP)
    return grown


async def test_a_stopped_template_that_is_to_fork_is_replaced(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await stopped(nursery)
    monkeypatch.setattr(under_test, "ANSWER_SECONDS", 0.2)
    second = Grown(nursery)
    async with asyncio.timeout(60):
        await asyncio.gather(first.child.ended, second.child.ended)
        monkeypatch.undo()
        third = Grown(nursery)
        await third.answered.wait()
        await third.child.close()


async def test_the_end_of_a_child_of_a_stopped_template_comes(
    nursery: Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await stopped(nursery)
    monkeypatch.setattr(under_test, "ANSWER_SECONDS", 0.2)
    async with asyncio.timeout(60):
        end = await first.child.close()
    assert end.exit_code == -signal.SIGKILL
    await until(lambda: not os.path.exists(f"/proc/{first.child.pid}"))  # noqa: PTH110 - of a process


async def test_a_template_that_never_begins_is_replaced(nursery: Nursery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "READY_SECONDS", 0.05)
    nursery.warm()
    first = nursery.template_pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    await until(lambda: nursery.template_pid != first)
    monkeypatch.undo()
    grown = Grown(nursery)
    async with asyncio.timeout(60):
        await grown.answered.wait()
        await grown.child.close()
