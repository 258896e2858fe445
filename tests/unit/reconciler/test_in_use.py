"""How long the finalizer of a module or policy keeps what the session of a job may need to be cancelled."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from curation.api.names import IN_USE_FINALIZER
from curation.api.schema import ObjectMeta
from curation.lifecycle.deadlines import HELD_AT_MOST
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.result import NOTHING, Result, carry_out
from curation.reconciler.sources.in_use import InUse
from tests.unit.reconciler.disconnected import NAMESPACE, Rig, disconnected, module_key
from tests.unit.reconciler.virtual_time import in_virtual_time, now

OTHER = "example.com/other"


class Held:
    """The finalizer of a deleted module of a namespace whose jobs own a session, or do not."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rig = rig
        self.needed = True
        self.left: list[str] | None = None
        """The finalizers that were left when it was removed."""
        self.in_use = InUse(rig.context, JobIndex(rig.context.metrics))
        self.meta = ObjectMeta(
            name="m",
            namespace=NAMESPACE,
            uid="uid-m",
            resource_version="7",
            finalizers=(OTHER, IN_USE_FINALIZER),
            deletion_timestamp=rig.context.clock.now(),
        )

        async def needed(namespace: str) -> bool:
            assert namespace == NAMESPACE
            return self.needed

        async def write(key: Key, meta: ObjectMeta, finalizers: list[str]) -> Result:
            assert (key, meta) == (module_key(), self.meta)
            self.left = finalizers
            return NOTHING

        monkeypatch.setattr(self.in_use, "_needed", needed)
        monkeypatch.setattr(self.in_use, "_write", write)

    async def until_gone(self) -> float:
        """Work on it as the queue says until the finalizer is off; returns after how many seconds that was."""
        began = now()
        await self._advance()
        async with asyncio.timeout(2 * HELD_AT_MOST.total_seconds()):
            while self.left is None:
                self.rig.queue.done(await self.rig.queue.get())
                await self._advance()
        return now() - began

    async def _advance(self) -> None:
        result = await self.in_use.advance(module_key(), self.meta)
        assert result is not None
        carry_out(self.rig.context, module_key(), result)


@in_virtual_time
async def test_a_deleted_module_that_a_session_needs_goes_after_10_minutes_at_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert timedelta(minutes=10) == HELD_AT_MOST
    async with disconnected(tmp_path) as rig:
        held = Held(rig, monkeypatch)
        waited = await held.until_gone()
        assert HELD_AT_MOST.total_seconds() <= waited < HELD_AT_MOST.total_seconds() + 5
        assert held.left == [OTHER], "another's finalizer is not ours to take"


@in_virtual_time
async def test_a_deleted_module_goes_soon_after_the_last_session_that_needs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        held = Held(rig, monkeypatch)

        async def end() -> None:
            await asyncio.sleep(30)
            held.needed = False

        ending = asyncio.create_task(end())
        waited = await held.until_gone()
        await ending
        assert 30 <= waited < 35


@in_virtual_time
async def test_a_deleted_policy_that_was_never_valid_goes_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        held = Held(rig, monkeypatch)
        assert await held.in_use.advance(module_key(), held.meta, of_use=False)
        assert held.left == [OTHER]
