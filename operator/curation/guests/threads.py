"""Runs guests in threads of this process.

wasmtime releases the GIL while a guest runs, so threads are enough. A thread is held for as long as its guest lives,
waits for slow services included.
"""

import asyncio
from concurrent.futures import CancelledError, ThreadPoolExecutor

from curation.guests.priority import give_way
from curation.guests.run import GuestThread
from curation.guests.seam import ANSWER_SLACK_SECONDS, Answers, GuestReport, GuestRun, Refusal
from curation.wasm.guest_end import StopCause
from curation.wasm.host_functions import GuestStopped
from curation.wasm.seats import Seats
from curation.wasm.watchdog import Watchdog


class ThreadGuests:
    """See `seam.Guests`."""

    def __init__(self, most: int) -> None:
        """`most` guests at a time; whoever starts more of them waits for a thread."""
        self.watchdog = Watchdog()
        self.seats = Seats()
        self.pool = ThreadPoolExecutor(most, "wasm-guest", give_way)

    is_ready = True

    async def ready(self) -> None:
        """See `seam.Guests`."""

    def start(self, run: GuestRun, answers: Answers) -> "_Running":
        """See `seam.Guests`."""
        return _Running(run, answers, self)

    def drop(self, digest: str) -> None:
        """See `seam.Guests`."""
        self.seats.drop(digest)

    async def close(self) -> None:
        """See `seam.Guests`. No thread is left."""
        # Off the loop: a guest whose run was cancelled from outside may still wait for this very loop. And in a
        # thread of its own: those of the default executor may all be held by others.
        own = ThreadPoolExecutor(max_workers=1, thread_name_prefix="wasm-pool-end")
        shutdown = asyncio.get_running_loop().run_in_executor(own, self.pool.shutdown)
        own.shutdown(wait=False)  # takes nothing more
        await shutdown
        own.shutdown()  # its thread has nothing left to do
        self.watchdog.stop()
        self.seats.close()


class _Running:
    """See `seam.Running`."""

    def __init__(self, run: GuestRun, answers: Answers, guests: ThreadGuests) -> None:
        self._loop = asyncio.get_running_loop()
        thread = GuestThread(run, _Caller(self._loop, answers), guests.seats, guests.watchdog)
        self._thread = thread
        try:
            self.ended: asyncio.Future[GuestReport] = asyncio.wrap_future(guests.pool.submit(thread.run))
        except RuntimeError:
            thread.abort()  # trap: a pool that can start no thread raises, and runs it nevertheless when one is free
            raise

    def stop(self, answer: str) -> None:
        self._thread.stop(answer)

    def abort(self) -> None:
        self._thread.abort()


class _Caller:
    """See `run.Caller`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, answers: Answers) -> None:
        self._loop = loop
        self._answers = answers

    def call(self, number: int, request: bytes, seconds: float) -> tuple[bool, str] | None:
        coroutine = self._answers.call(number, request, seconds + ANSWER_SLACK_SECONDS)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop is closed: the operator is gone
            coroutine.close()
            raise GuestStopped(StopCause.CLOSED) from None
        try:
            return future.result(seconds)
        except TimeoutError:
            future.cancel()
            return None
        except CancelledError:
            raise GuestStopped(StopCause.CLOSED) from None

    def refused(self, request: str, refusal: Refusal) -> None:
        self._answers.refused(request, refusal)
