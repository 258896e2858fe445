"""The end of a channel that an event loop has, such as that of the process that has children: nothing waits here."""

import asyncio
import itertools
import os
import select
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from curation.isolation.blocking import close_all, received, send
from curation.isolation.frames import Decoder, Encoded, Frame, FrameRefused, Wire

FRAMES_A_TURN: Final = 32
MAX_QUEUED_BYTES: Final = 4 << 20
MAX_QUEUED_FRAMES: Final = 1024
_AT_ONCE: Final = 32
_BYTES_AT_ONCE: Final = 64 << 10
"""Frames, and their bytes, that are handed to the kernel together; one larger frame goes alone."""


class QueueFull(Exception):
    """The other end takes less than it is given."""


class Channel:
    """One end of a channel, for an event loop. Nothing waits here: what does not fit the socket is queued, bounded."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        outgoing: Wire,
        incoming: Wire,
        on_frame: Callable[[Frame], None],
        on_end: Callable[[Exception | None], None],
        max_queued_bytes: int = MAX_QUEUED_BYTES,
        max_queued_frames: int = MAX_QUEUED_FRAMES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins to read at once, and owns the socket.

        `on_end` is called once, unless `close` comes first: with None if the other end has closed, else with what is
        wrong. An exception of `on_frame` ends the channel too.
        """
        self._socket = sock
        self._outgoing, self._incoming = outgoing, incoming
        self._decoder = Decoder(incoming)
        self._on_frame, self._on_end = on_frame, on_end
        self._max_bytes, self._max_frames = max_queued_bytes, max_queued_frames
        self._monotonic = monotonic
        self._queue: OrderedDict[Hashable, Encoded] = OrderedDict()
        self._numbers = itertools.count()
        self._queued = 0
        self._begun: list[memoryview] = []
        """What is left of the frame that has begun to leave."""
        self._stalled_since: float | None = None
        self._ended = self._broken = self._paused = False
        self._leaves_soon = False
        self._emptied: list[asyncio.Future[None]] = []
        self._loop = asyncio.get_running_loop()
        sock.setblocking(False)
        self._loop.add_reader(sock, self._readable)

    @property
    def queued_bytes(self) -> int:
        """What waits for the other end to take it."""
        return self._queued + sum(map(len, self._begun))

    def stalled_seconds(self) -> float:
        """How long the other end has taken nothing while something waits for it."""
        return 0.0 if self._stalled_since is None else self._monotonic() - self._stalled_since

    def send(self, frame: Frame, *, replaces: Hashable = None, soon: bool = False) -> None:
        """Send it, or queue it. Of frames with an equal `replaces` that wait, only the last one leaves, in the place of
        the first. The caller goes on owning its descriptors, and may close them at once.

        With `soon` it leaves in the next turn of the loop, or with what is sent before that: then the other end is
        woken once for all of it.

        Raises QueueFull, and FrameRefused for a frame over its bounds. Once the channel has ended nothing is sent.
        """
        encoded = self._outgoing.encode(frame)
        if self._gone:
            return
        key: Hashable = next(self._numbers) if replaces is None else (replaces,)
        before = self._queue.get(key)
        size = self._queued + encoded.size - (before.size if before is not None else 0)
        if (self._queue or self._begun) and (
            size > self._max_bytes or (before is None and len(self._queue) >= self._max_frames)
        ):
            raise QueueFull(f"{len(self._queue)} frames of {self._queued} bytes wait already")
        # Trap: the caller may close its own before the frame has left.
        encoded = encoded._replace(descriptors=tuple(os.dup(each) for each in encoded.descriptors))
        if before is not None:
            close_all(before.descriptors)
        self._queue[key] = encoded
        self._queued = size
        if self._stalled_since is not None:
            return
        # Trap: what waits for a turn counts as what the other end does not take; so little of it does.
        if not soon or size > _BYTES_AT_ONCE or len(self._queue) >= _AT_ONCE:
            self._leave()
        elif not self._leaves_soon:
            self._leaves_soon = True
            self._loop.call_soon(self._leave_now)

    def send_whole(self, frame: Frame, *, seconds: float) -> None:
        """Send it, and return once it has left whole, with all that waits before it. Waits for that, in this call.

        Raises OSError if the other end does not take it in this time, or has closed.
        """
        self.send(frame)
        last = self._monotonic() + seconds
        waiting = select.poll()
        waiting.register(self._socket, select.POLLOUT)
        while (self._queue or self._begun) and not self._gone:
            if (left := last - self._monotonic()) <= 0:
                raise TimeoutError("the other end takes nothing")
            waiting.poll(left * 1000)
            self._write()
        if self._gone:
            raise ConnectionError("the other end has closed")

    async def emptied(self) -> None:
        """Wait until all that was sent has left, or the other end takes nothing any more."""
        if (self._queue or self._begun) and not self._gone:
            waiting = self._loop.create_future()
            self._emptied.append(waiting)
            await waiting

    def close(self) -> None:
        """End it from this side."""
        if self._ended:
            return
        self._ended = True
        self._loop.remove_reader(self._socket)
        self._stop_writing()
        self._decoder.close()
        self._socket.close()

    @property
    def _gone(self) -> bool:
        return self._ended or self._broken

    @property
    def ended(self) -> bool:
        """Whether nothing comes any more, nor leaves."""
        return self._ended

    def _end(self, error: Exception | None) -> None:
        if not self._ended:
            self.close()
            self._on_end(error)

    def _leave_now(self) -> None:
        self._leaves_soon = False
        if self._queue and self._stalled_since is None and not self._gone:
            self._leave()

    def _leave(self) -> None:
        self._stalled_since = self._monotonic()
        self._write()

    def _write(self) -> None:
        """Let leave what the socket takes."""
        try:
            while self._begun or self._queue:
                sent = self._socket.send(self._begun[0]) if self._begun else self._begin()
                self._stalled_since = self._monotonic()
                self._sent(sent)
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._write)
            return
        except OSError:
            # The other end takes nothing any more. What it has said before can still be read, and is; then this ends.
            self._broken = True
            self._stop_writing()
            self._loop.call_soon(self._readable)
            return
        self._stalled_since = None
        self._loop.remove_writer(self._socket)
        self._tell_emptied()

    def _tell_emptied(self) -> None:
        emptied, self._emptied = self._emptied, []
        for waiting in emptied:
            if not waiting.done():
                waiting.set_result(None)

    def _stop_writing(self) -> None:
        self._loop.remove_writer(self._socket)
        for encoded in self._queue.values():
            close_all(encoded.descriptors)
        self._queue.clear()
        self._begun.clear()
        self._queued = 0
        self._stalled_since = None
        self._tell_emptied()

    def _begin(self) -> int:
        """Begin with what comes next; of frames without descriptors several at once."""
        taken: list[Hashable] = []
        parts: list[memoryview] = []
        descriptors: tuple[int, ...] = ()
        size = 0
        for key, encoded in self._queue.items():
            size += encoded.size
            if taken and (encoded.descriptors or len(taken) == _AT_ONCE or size > _BYTES_AT_ONCE):
                break
            taken.append(key)
            parts += [memoryview(part) for part in (encoded.head, encoded.payload) if part]
            if encoded.descriptors:
                descriptors = encoded.descriptors
                break
        sent = send(self._socket, parts, descriptors)
        for key in taken:
            self._queued -= self._queue.pop(key).size
        close_all(descriptors)
        self._begun = parts
        return sent

    def _sent(self, count: int) -> None:
        while count:
            part = self._begun[0]
            if count < len(part):
                self._begun[0] = part[count:]
                return
            count -= len(part)
            del self._begun[0]

    def _readable(self) -> None:
        if self._ended or self._paused:
            return
        try:
            data, descriptors = received(self._socket, self._incoming)
        except BlockingIOError:
            if self._broken:
                self._end(None)
            return
        except ConnectionError:
            data, descriptors = b"", []
        except (OSError, FrameRefused) as error:
            self._end(error)
            return
        if not data:
            # Trap: a frame that was cut off is no fault of its own. What has ended the other side in the midst of it,
            # such as a limit, its end says.
            self._end(None)
            return
        self._decoder.feed(data, descriptors)
        self._deliver()

    def _deliver(self) -> None:
        """Hand out what has come in, a bounded number a turn; meanwhile nothing more is read."""
        try:
            for _ in range(FRAMES_A_TURN):
                if self._ended:
                    return
                frame = self._decoder.next()
                if frame is None:
                    self._pause(False)
                    return
                self._on_frame(frame)
        except Exception as error:
            self._end(error)
            return
        if not self._ended:
            self._pause(True)
            self._loop.call_soon(self._deliver)

    def _pause(self, paused: bool) -> None:
        if paused != self._paused:
            self._paused = paused
            if paused:
                self._loop.remove_reader(self._socket)
            else:
                self._loop.add_reader(self._socket, self._readable)
        if self._broken and not paused:
            self._loop.call_soon(self._readable)
