"""A guest in a pod as its worker has it: started once, each call made once, over however many connections."""

import asyncio
import os
from functools import partial
from typing import TYPE_CHECKING, Final

from curation.guests.apart import OVERDUE_SECONDS
from curation.guests.frames import Ended, How, Run, Stop, report_of
from curation.guests.seam import ANSWER_SLACK_SECONDS, Answers, GuestReport, GuestRun
from curation.isolation.frames import Frame, FrameRefused
from curation.pods.frames import ONLY_RUN, PART_BYTES, Answer, Call, Here, HostEnded, ModulePart
from curation.pods.times import LOST_SECONDS
from curation.wasm.guest_end import StopCause, Stopped
from curation.wasm.module_errors import ModuleUnreadable

if TYPE_CHECKING:
    from curation.pods.guests import PodGuests

STOP_SECONDS: Final = 30.0
"""For a run that was stopped to end: nothing of it leaves meanwhile."""
MAX_TEXT: Final = 512
"""Characters of what a pod says of its end."""


class PodRun:
    """See `guests.seam.Running`. `guests` is whoever has its pod's connection."""

    def __init__(self, guests: "PodGuests", run: GuestRun, answers: Answers) -> None:
        self._guests = guests
        self._run = run
        self._answers = answers
        self._loop = asyncio.get_running_loop()
        self._begun = self._confirmed = False
        """Whether the pod was told to run it, and has said that it does."""
        self._beginning: asyncio.Task[None] | None = None
        self._wall_ends = 0.0
        self._overdue: asyncio.TimerHandle | None = None
        self._last_call = 0
        self._last_answer: Answer | None = None
        self._may_repeat = False
        """Whether this connection may still say a call that was said before."""
        self._answering: asyncio.Task[None] | None = None
        self._stop: Stop | None = None
        self.ended: asyncio.Future[GuestReport] = self._loop.create_future()

    def stop(self, answer: str) -> None:
        """See `guests.seam.Running`."""
        if not self._begun:
            self._finish(GuestReport(Stopped(StopCause.KILLED)))
        elif self._stop is None and not self.ended.done():
            self._stop = Stop(run=ONLY_RUN, payload=answer.encode())
            self._guests.send(self._stop)
            self._guests.deadline(STOP_SECONDS, "it was stopped, and its pod has not said in time that it has ended")

    def abort(self) -> None:
        """See `guests.seam.Running`."""
        self._guests.send(Stop(run=ONLY_RUN, abort=True))
        self._finish(GuestReport(Stopped(StopCause.CLOSED)))

    # -- its pod comes and goes --------------------------------------------------------------------------------------

    def take_over(self, calls: int) -> None:
        """It was started for another worker, and has made so many calls: the last one of them at most is unanswered."""
        if not self._guests.resumed:
            self._guests.lose("its pod says that it was started, which nobody has asked for")
            return
        self._last_call = calls
        self._answers.resumed(calls)
        self._has_begun()

    def joined(self, here: Here) -> None:
        """Its pod is here, and holds this. Raises FrameRefused."""
        if self.ended.done():
            return
        if not here.started:
            if self._confirmed or self._last_call:
                self._guests.lose("its pod has begun anew")
            elif self._stop is not None:  # that it was to be started was lost on the way
                self._finish(GuestReport(Stopped(StopCause.KILLED)))
            else:
                self._beginning = self._loop.create_task(self._begin(), name="start a guest in its pod")
            return
        if not self._begun:
            self.take_over(here.last_call)
            if not self._begun:
                return
        if here.last_call < self._last_call:
            raise FrameRefused(f"the last call is {here.last_call}, and call {self._last_call} was heard")
        self._confirmed = self._may_repeat = True
        self._watch()
        if self._stop is not None:
            self._guests.send(self._stop)

    def parted(self) -> None:
        """The connection has ended."""
        self._may_repeat = False
        for waiting in (self._overdue, self._beginning):
            if waiting is not None:
                waiting.cancel()

    async def _begin(self) -> None:
        """Hand over its module, and have it started."""
        try:
            await self._hand_over()
            if (channel := self._guests.channel) is not None:
                context = self._run.context.encode()
                limits, digest = self._run.limits, self._run.module.digest
                channel.send(Run(run=ONLY_RUN, digest=digest, limits=limits, payload=context))
                self._has_begun()
                self._watch()
        except Exception as error:
            self.fail(error)

    async def _hand_over(self) -> None:
        channel, digest = self._guests.channel, self._run.module.digest
        descriptor, offset = self._guests.artifact(digest), 0
        try:
            size = os.fstat(descriptor).st_size
            while channel is not None and offset < size:
                part = os.pread(descriptor, PART_BYTES, offset)
                if not part:
                    raise ModuleUnreadable("its compiled code has become shorter")
                channel.send(ModulePart(digest=digest, offset=offset, size=size, payload=part))
                offset += len(part)
                await channel.emptied()
        finally:
            os.close(descriptor)

    def _has_begun(self) -> None:
        self._begun = True
        self._wall_ends = self._loop.time() + self._run.limits.wall_seconds
        after = self._run.limits.wall_seconds + LOST_SECONDS
        self._guests.deadline(after, f"its pod has not said within {after:.0f} s that it has ended")

    def _watch(self) -> None:
        """From now on its pod can say that it has ended."""
        if self._overdue is not None:
            self._overdue.cancel()
        why = "its pod has not said in time that it has ended"
        last = max(self._wall_ends, self._loop.time()) + OVERDUE_SECONDS
        self._overdue = self._loop.call_at(last, partial(self._guests.lose, why))

    # -- what its pod says -------------------------------------------------------------------------------------------

    def hear(self, frame: Frame) -> None:
        """Raises FrameRefused."""
        match frame:
            case Ended(run=run):
                if run != ONLY_RUN or not self._begun:
                    raise FrameRefused(f"ended: run {run} is not under way")
                self._has_ended(frame)
            case HostEnded(how=how):
                why = f"the guest host in its pod has ended ({how[:MAX_TEXT]})"
                self._guests.lose(why, over_limit=frame.over_limit, said=True)
            case Call():
                if not self._begun or self.ended.done():
                    raise FrameRefused(f"call {frame.number} of a guest that does not run")
                self._called(frame)

    def _called(self, frame: Call) -> None:
        number, last, most = frame.number, self._last_call, self._run.limits.http_calls
        may_repeat, self._may_repeat = self._may_repeat, False
        if frame.repeated:
            if not may_repeat:
                raise FrameRefused(f"call {number} is said again on the same connection")
            if 0 < number == last:
                if self._answering is None:
                    self._say_again()
                return
        if not last < number <= most:
            raise FrameRefused(f"call {number} after call {last}, of {most}")
        if self._answering is not None:
            raise FrameRefused(f"call {number} while call {last} is not answered")
        self._last_call, self._last_answer = number, None
        self._answering = self._loop.create_task(self._answer(frame))

    def _say_again(self) -> None:
        """The answer to the last call: what it was, or that nobody knows."""
        if self._last_answer is None:
            ok, document = self._answers.unknown()
            self._last_answer = Answer(number=self._last_call, ok=ok, payload=document.encode())
        self._guests.send(self._last_answer)

    async def _answer(self, frame: Call) -> None:
        seconds = self._wall_ends - self._loop.time() + ANSWER_SLACK_SECONDS
        try:
            ok, document = await self._answers.call(frame.number, frame.payload, seconds)
            payload = document.encode("utf-8", "replace")
            self._last_answer = Answer(number=frame.number, ok=ok, payload=payload)
            self._answering = None
            self._guests.send(self._last_answer)
        except Exception as error:
            # In this process: the run ends with that, whatever the guest makes of its last call.
            self._guests.send(Stop(run=ONLY_RUN, abort=True))
            self.fail(error)

    def _has_ended(self, frame: Ended) -> None:
        if self.ended.done():
            return  # it says so until that is settled
        match frame.how:
            case How.UNOPENED:
                text = f"Its compiled code cannot be used in its pod: {frame.text[:MAX_TEXT]}"
                self.fail(ModuleUnreadable(text))
            case How.FAILED:
                self.fail(RuntimeError(frame.text[:MAX_TEXT]))
            case _:
                self._finish(report_of(frame))

    def fail(self, error: Exception) -> None:
        """It ends with this."""
        if not self.ended.done():
            self._over()
            self.ended.set_exception(error)
            self.ended.exception()  # whoever waits for it is told nevertheless; where nobody does that is no fault

    def _finish(self, report: GuestReport) -> None:
        if not self.ended.done():
            self._over()
            self.ended.set_result(report)

    def _over(self) -> None:
        self._last_answer = None
        self._guests.ended()
        for waiting in (self._overdue, self._answering, self._beginning):
            if waiting is not None and waiting is not asyncio.current_task():
                waiting.cancel()
