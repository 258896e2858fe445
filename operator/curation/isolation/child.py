"""A child as an event loop has it: its channel is read, its stderr drained, and its end is known once."""

import asyncio
from collections.abc import Callable, Hashable
from typing import Final

from curation.isolation.channel import Channel
from curation.isolation.frames import Frame, Wire
from curation.isolation.hardening import Hardening
from curation.isolation.reaping import Draining, reaped
from curation.isolation.spawn import ChildEnd, Start, spawn

END_SECONDS: Final = 1.0
"""For a child whose channel has ended to end by itself, so that its own exit code is known."""
_LOOK_SECONDS: Final = 0.005


class Child:
    """Made with a running loop, in the thread that lives as long as the child."""

    def __init__(
        self,
        target: str,
        hardening: Hardening,
        *,
        to_child: Wire,
        from_child: Wire,
        on_frame: Callable[[Frame], None],
        start: Start = spawn,
    ) -> None:
        """Starts it. See `spawn` for `target`; `start` may be that of a `nursery.Nursery`. Raises OSError.

        An exception of `on_frame` ends the child, as a frame that does not fit the wire does.
        """
        self._loop = asyncio.get_running_loop()
        self._spawned = start(target, hardening)
        self.fault: Exception | None = None
        """Why this process has ended the channel, if it has."""
        self.ended: asyncio.Future[ChildEnd] = self._loop.create_future()
        """Comes when it is reaped. Cancelling it does not end the child: `kill` does."""
        self._reaping: asyncio.Task[None] | None = None
        self._channel = Channel(
            self._spawned.channel, outgoing=to_child, incoming=from_child, on_frame=on_frame, on_end=self._channel_ended
        )
        self._draining = Draining(self._spawned)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._spawned.pid

    def send(self, frame: Frame, *, replaces: Hashable = None, soon: bool = False) -> None:
        """See `Channel.send`."""
        self._channel.send(frame, replaces=replaces, soon=soon)

    def stalled_seconds(self) -> float:
        """See `Channel.stalled_seconds`."""
        return self._channel.stalled_seconds()

    def kill(self) -> None:
        """End it at once. What it has said before is still heard; `ended` comes after that."""
        if not self.ended.done():
            self._spawned.kill()
            self._reap()

    async def close(self) -> ChildEnd:
        """End it at once, hear nothing more of it, and wait until it is reaped."""
        self._channel.close()
        self.kill()
        return await asyncio.shield(self.ended)

    def _channel_ended(self, error: Exception | None) -> None:
        self.fault = error
        if error is not None:
            self._spawned.kill()
        self._reap()

    def _reap(self) -> None:
        if self._reaping is None:
            self._draining.end()
            self._reaping = self._loop.create_task(self._reaped(), name=f"reap {self.pid}")

    async def _reaped(self) -> None:
        end = await reaped(self._spawned, END_SECONDS)
        last = self._loop.time() + END_SECONDS
        # Somebody else may hold its end of the channel open, if it has passed that on.
        while not self._channel.ended and self._loop.time() < last:  # noqa: ASYNC110 - it is over in a moment
            await asyncio.sleep(_LOOK_SECONDS)
        self._channel.close()
        if not self.ended.done():
            self.ended.set_result(end)
