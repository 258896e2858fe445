"""The checkers: at most two processes, each of which answers one question at a time about what a stranger wrote.

Each question has its own bounds of time and memory; a process that is over one is killed, and what it was asked about
is refused. A namespace has one question under way at most, and the namespaces take turns. An idle checker ends.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import signal
from collections.abc import Callable
from typing import Any, Final, cast

from curation.authz.check_result import CheckReason, PolicyCheck
from curation.authz.grant import Grant, grant_to_wire
from curation.checking.judgement import PolicyJudgement
from curation.checking.questions import (
    FROM_CHECKER,
    MAX_QUESTIONS,
    MAX_QUESTIONS_BYTES,
    MAX_SET_BYTES,
    MAX_TEXT_BYTES,
    TO_CHECKER,
    Authorize,
    Authorized,
    GrantWritten,
    JudgePolicy,
    PolicyJudged,
    WriteGrant,
)
from curation.checking.verdict import Asked, Question, Verdict, questions_to_wire, verdict_of_wire
from curation.isolation.child import Child
from curation.isolation.frames import Frame, FrameRefused
from curation.isolation.hardening import Hardening
from curation.isolation.spawn import ChildEnd, Limit, Start, spawn
from curation.turns import AwaitedTurns

log = logging.getLogger(__name__)

CHECKERS_AT_ONCE: Final = 2
CPU_SECONDS: Final = 5
"""Processor time of one question: a hostile text of 64 KiB takes 0.4 s, an ordinary one under 1 ms."""
ENOUGH_SECONDS: Final = 1.0
"""Of processor time for several requests: then it is another namespace's turn."""
WALL_SECONDS: Final = 60.0
"""Time of one question, against a process that hangs without using processor time."""
MEMORY_BYTES: Final = 512 << 20
IDLE_SECONDS: Final = 30.0
"""After which a checker that is asked nothing ends; starting one takes some 0.2 s of processor time."""

_TARGET: Final = "curation.checking.checker:main"
_HARDENING: Final = Hardening(data_bytes=MEMORY_BYTES, nice=5, open_files=32)
_CRASHES: Final = (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL, -signal.SIGABRT, -signal.SIGFPE)
EVERYWHERE: Final = ""
"""The namespace of what counts in all: it comes before every other."""


_RETRY_SECONDS: Final = (0.2, 0.5, 1.0, 2.0, 5.0)


class CheckerLost(OSError):
    """No answer, and not for what was asked: no process could be started, or somebody has killed it. Ask again."""


def retry_seconds(tries: int) -> float:
    """After how long to ask again when so many tries have had no answer.

    Never long: the container that checkers are started in may be still to come.
    """
    return _RETRY_SECONDS[min(tries, len(_RETRY_SECONDS)) - 1]


class _Ended(Exception):
    def __init__(self, end: ChildEnd) -> None:
        super().__init__(str(end))
        self.end = end


class Checkers:
    """For one event loop, in a thread that lives as long as they do. Close it."""

    def __init__(
        self, *, at_once: int = CHECKERS_AT_ONCE, idle_seconds: float = IDLE_SECONDS, start: Start = spawn
    ) -> None:
        """`start` begins a process: that of a `nursery.Nursery`, or `spawn.spawn`."""
        self._start = start
        self._turns = AwaitedTurns(at_once, first=EVERYWHERE)
        self._idle_seconds = idle_seconds
        self._idle: list[_Checker] = []
        self._all: set[_Checker] = set()
        self._numbers = itertools.count(1)
        self._closed = False

    async def judge_policy(self, text: str, *, namespace: str, lint: bool = True) -> PolicyJudgement:
        """Judge a policy text of a namespace; EVERYWHERE is for one of the cluster. Raises CheckerLost.

        Without `lint` there are no warnings.

        Trap: what takes too much is refused, not unknown: the same text would take as much the next time.
        """
        payload = text.encode(errors="surrogatepass")
        if len(payload) > MAX_TEXT_BYTES:
            return _refused(f"the text has {len(payload)} bytes, at most {MAX_TEXT_BYTES} are looked at; split it")
        cluster = namespace == EVERYWHERE

        def question(number: int) -> JudgePolicy:
            return JudgePolicy(number=number, cluster=cluster, lint=lint, cpu_seconds=CPU_SECONDS, payload=payload)

        answer = await self._in_turn(namespace, question)
        if isinstance(answer, str):
            return _refused(f"checking it {answer}: split it, or make it simpler")
        assert isinstance(answer, PolicyJudged), "the checker answers what it is asked"
        check = PolicyCheck(answer.valid, answer.count, cast(CheckReason, answer.reason), answer.message)
        return PolicyJudgement(check, answer.warnings)

    async def authorize(self, namespace: str, ask: Callable[[], Asked]) -> list[Verdict]:
        """Verdicts on waiting requests of a namespace: on the first of them, on one at least. Raises CheckerLost.

        `ask` is called when it is the namespace's turn.
        """
        questions, revision, most = list[Question](), 0, MAX_QUESTIONS

        def question(number: int) -> Authorize | str:
            nonlocal questions, revision
            asked = ask()
            questions, revision = list(asked.questions[:most]), asked.revision
            if not questions:
                return "has been given up"
            wire = questions_to_wire(questions)
            while len(wire) > MAX_QUESTIONS_BYTES and len(questions) > 1:
                del questions[len(questions) // 2 :]
                wire = questions_to_wire(questions)
            if asked.counts is None or len(asked.counts) > MAX_SET_BYTES:
                return f"takes in more than {MAX_SET_BYTES >> 20} MiB of policies and grants"
            return Authorize(
                number=number,
                namespace=namespace,
                now=asked.now,
                set_bytes=len(asked.counts),
                cpu_seconds=CPU_SECONDS,
                enough_seconds=ENOUGH_SECONDS,
                payload=asked.counts + wire,
            )

        while True:
            answer = await self._in_turn(namespace, question)
            if not isinstance(answer, str):
                assert isinstance(answer, Authorized), "the checker answers what it is asked"
                read = json.loads(answer.payload)[: len(questions)]
                pairs = zip(questions, read, strict=False)
                return [verdict_of_wire(each, revision, found) for each, found in pairs]
            if not questions:
                return []
            if len(questions) == 1:
                # Whose fault it is, is not known of several.
                reason = f"denied: deciding it {answer}: make the policies that count here simpler, or fewer"
                return [Verdict(questions[0], revision, False, reason, True)]
            most = 1

    async def write_grant(self, grant: Grant) -> str:
        """The Cedar text of a grant; empty if there is none. Raises CheckerLost."""
        payload = json.dumps(grant_to_wire(grant)).encode()

        def question(number: int) -> WriteGrant:
            return WriteGrant(number=number, namespace=grant.namespace, cpu_seconds=CPU_SECONDS, payload=payload)

        answer = await self._in_turn(grant.namespace, question)
        if isinstance(answer, str):
            log.error("the Cedar text of %s cannot be written: that %s", grant.origin, answer)
            return ""
        assert isinstance(answer, GrantWritten), "the checker answers what it is asked"
        return answer.payload.decode()

    async def close(self) -> None:
        """End them. Whoever waits for an answer gets CheckerLost, or CancelledError if it was not its turn yet."""
        self._closed = True
        self._turns.close()
        await asyncio.gather(*(checker.close() for checker in list(self._all)))

    async def _in_turn(self, namespace: str, question: Callable[[int], Frame | str]) -> Frame | str:
        """The answer, once it is the namespace's turn; or what is wrong with what was asked, after its name.

        `question` may say so itself, and then nobody is asked.
        """
        async with self._turns.turn(namespace):
            for last in (False, True):
                number = next(self._numbers)
                asked = question(number)
                if isinstance(asked, str):
                    return asked
                try:
                    return await self._asked(number, asked)
                except _Ended as error:
                    if (refusal := _refusal(error.end, last=last)) is not None:
                        return refusal
                    if last:
                        raise CheckerLost(f"checkers die ({error.end})") from None
                    log.warning("a checker has died (%s); another one is asked", error.end)
        raise AssertionError("the second try returns or raises")

    async def _asked(self, number: int, question: Frame) -> Frame:
        checker = self._taken()
        try:
            answer = await checker.ask(number, question)
        except BaseException:
            self._all.discard(checker)
            with contextlib.suppress(asyncio.CancelledError):
                await checker.close()
            raise
        checker.rest(self._idle_seconds, self._tired)
        self._idle.append(checker)
        return answer

    def _taken(self) -> "_Checker":
        if self._closed:
            raise CheckerLost("the checkers are closed")
        while self._idle:
            checker = self._idle.pop()
            if checker.wake():
                return checker
            self._all.discard(checker)
        try:
            checker = _Checker(self._start)
        except OSError as error:
            raise CheckerLost(f"no checker can be started: {error}") from error
        self._all.add(checker)
        return checker

    def _tired(self, checker: "_Checker") -> None:
        self._idle.remove(checker)
        checker.leave()
        checker.ended.add_done_callback(lambda _: self._all.discard(checker))


class _Checker:
    """One process, for one question at a time."""

    def __init__(self, start: Start) -> None:
        self._waiting: asyncio.Future[Frame] | None = None
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._child = Child(
            _TARGET, _HARDENING, to_child=TO_CHECKER, from_child=FROM_CHECKER, on_frame=self._answered, start=start
        )
        self.ended = self._child.ended

    async def ask(self, number: int, question: Frame) -> Frame:
        """Raises `_Ended` if the process does before it has answered."""
        self._number = number
        waiting: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._waiting = waiting
        self._child.send(question)
        try:
            async with asyncio.timeout(WALL_SECONDS):
                either: tuple[asyncio.Future[Any], ...] = (waiting, self.ended)
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            self._child.kill()
        if not waiting.done():
            raise _Ended(await asyncio.shield(self.ended))
        self._waiting = None
        return waiting.result()

    def rest(self, seconds: float, tired: "Callable[[_Checker], None]") -> None:
        """It is asked nothing; after so long a time it is `tired`."""
        self._timer = asyncio.get_running_loop().call_later(seconds, tired, self)

    def wake(self) -> bool:
        """It is asked again; False if it has ended meanwhile."""
        if self._timer is not None:
            self._timer.cancel()
        return not self.ended.done()

    def leave(self) -> None:
        """End it, without waiting."""
        self._child.kill()

    async def close(self) -> None:
        """End it, and wait for that."""
        if self._timer is not None:
            self._timer.cancel()
        await self._child.close()

    def _answered(self, frame: Frame) -> None:
        assert isinstance(frame, PolicyJudged | Authorized | GrantWritten)
        if self._waiting is None or self._waiting.done() or frame.number != self._number:
            raise FrameRefused("an answer to what was not asked")
        self._waiting.set_result(frame)


def _refusal(end: ChildEnd, *, last: bool) -> str | None:
    """What that end of a process says of what it was asked about; None if it may say nothing."""
    if end.limit is Limit.PROCESSOR_TIME:
        return f"takes more than {CPU_SECONDS} s of processor time"
    if end.limit is Limit.MEMORY:
        return f"takes more than {MEMORY_BYTES >> 20} MiB"
    if last and end.exit_code in _CRASHES:
        return f"ended the checker, twice ({end})"
    return None


def _refused(message: str) -> PolicyJudgement:
    return PolicyJudgement(PolicyCheck(False, 0, "ParseError", message))
