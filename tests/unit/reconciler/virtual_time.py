"""An event loop whose clock jumps to the next timer when nothing is left to do: delays are exact and take no time."""

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec

P = ParamSpec("P")
_DEADLOCK_SECONDS = 60  # a compiler is a process of its own, and slow on a busy machine


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            # No timer is left. Something outside (a thread, a socket) may still come; else a wake-up was lost.
            ready = super().select(_DEADLOCK_SECONDS)
            if not ready:
                raise RuntimeError("deadlock: tasks wait, and nothing will ever wake them")
            return ready
        # A child at work (a compiler) takes real time, and its bound is not to be over in virtue.
        ready = super().select(_DEADLOCK_SECONDS if timeout > 0.1 and self._has_child() else 0)
        if not ready and timeout > 0:
            self.now += timeout
        return ready

    def _has_child(self) -> bool:
        """Whether anything is read but the loop's own wake-up: nothing here has a connection."""
        return len(self.get_map()) > 1


class VirtualLoop(asyncio.SelectorEventLoop):
    """Use its `time` as the monotonic clock of what is tested."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Seconds since the loop was made, all of them waited in virtue only."""
        return self._jumping.now

    def timers(self) -> list[asyncio.TimerHandle]:
        """The timers that are armed."""
        scheduled: list[asyncio.TimerHandle] = getattr(self, "_scheduled")  # noqa: B009 - private, and not typed
        return [handle for handle in scheduled if not handle.cancelled()]


def in_virtual_time(test: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Run an async test on a `VirtualLoop`."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def whole() -> None:
            await test(*args, **kwargs)

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.get_loop().set_exception_handler(_fail)
            runner.run(whole())

    return run


def _fail(_: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    raise AssertionError(context)


def now() -> float:
    """The virtual time."""
    return asyncio.get_running_loop().time()


def loop() -> VirtualLoop:
    """The running loop."""
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualLoop)
    return running
