"""Being slow, failing, and losing answers on command.

A rule names calls and what happens to them. Each call follows the first rule, in the order they were made, that fits
it at its arrival. `before` is before the work is done, `after` is between the work and its answer.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from testing.sessions.caller import RunCaller
from testing.sessions.errors import Refusal

Sleep = Callable[[float], Awaitable[object]]


class Dropped(Exception):
    """The connection is to be closed without an answer."""


class Match(BaseModel):
    """Which calls a rule is for. What is left out fits all. `run`, `job` and `path` are globs.

    In `path`, `*` is within one segment, and `**` at the end is any rest.
    """

    model_config = ConfigDict(extra="forbid")

    method: str | None = None
    path: str | None = None
    run: str | None = None
    job: str | None = None
    generation: int | None = None
    attempt: int | None = None
    trigger: str | None = None

    def fits(self, caller: RunCaller, method: str, path: str) -> bool:
        """Whether the call is one of these."""
        return (
            (self.method is None or self.method.upper() == method)
            and (self.path is None or _path_fits(self.path, path))
            and (self.run is None or fnmatchcase(caller.run_id or "", self.run))
            and (self.job is None or fnmatchcase(caller.job or "", self.job))
            and (self.generation is None or self.generation == caller.generation)
            and (self.attempt is None or self.attempt == caller.attempt)
            and (self.trigger is None or self.trigger == caller.trigger)
        )


class ServiceFault(Match):
    """A rule as it is asked for: which calls, how many of them, and what happens, after `seconds` where given.

    `then` is what becomes of a call that was held, once it is released.
    """

    action: Literal["hold", "delay", "fail", "drop", "malformed"]
    then: Literal["answer", "fail", "drop"] = "answer"
    when: Literal["before", "after"] = "before"
    times: int | None = Field(default=None, ge=1)
    seconds: float = Field(default=0, ge=0, le=600)
    status: int = Field(default=503, ge=400, le=599)

    @model_validator(mode="after")
    def _complete(self) -> "ServiceFault":
        if self.action == "delay" and self.seconds == 0:
            raise ValueError("a delay needs `seconds`")
        if self.then != "answer" and self.action != "hold":
            raise ValueError("`then` says what follows a hold")
        return self


class Rule:
    """A rule at work."""

    def __init__(self, identifier: str, fault: ServiceFault, changed: Callable[[], None], sleep: Sleep) -> None:
        self.id = identifier
        self.fault = fault
        self.hits = 0
        self.over = False
        self._held: deque[asyncio.Future[None]] = deque()
        self._changed = changed
        self._sleep = sleep

    @property
    def held(self) -> int:
        """How many calls are held now."""
        return len(self._held)

    def as_json(self) -> dict[str, Any]:
        """The rule as it is answered."""
        asked = self.fault.model_dump(exclude_none=True)
        return {"id": self.id, **asked, "hits": self.hits, "held": self.held, "over": self.over}

    def takes(self, caller: RunCaller, method: str, path: str) -> bool:
        """Whether the call follows this rule; if so, it counts as a hit."""
        used_up = self.fault.times is not None and self.hits >= self.fault.times
        if self.over or used_up or not self.fault.fits(caller, method, path):
            return False
        self.hits += 1
        self._changed()
        return True

    async def apply(self, when: Literal["before", "after"]) -> None:
        """Does to the call what the rule says at this point.

        :raises Refusal: for `fail`.
        :raises Dropped: for `drop`.
        """
        if self.fault.when != when:
            return
        if self.fault.seconds:
            await self._sleep(self.fault.seconds)
        match self.fault.action:
            case "hold":
                await self._hold()
                self._end(self.fault.then)
            case "fail" | "drop":
                self._end(self.fault.action)
            case "delay" | "malformed":
                pass

    def _end(self, how: Literal["answer", "fail", "drop"]) -> None:
        match how:
            case "fail":
                raise Refusal(self.fault.status, "the session service was told to fail")
            case "drop":
                raise Dropped
            case "answer":
                pass

    def release(self, count: int | None = None) -> int:
        """Lets held calls go on, oldest first. Without a count it is all of them, and the rule is over.

        :returns: how many went on.
        """
        if count is None:
            self.over = True
        freed = 0
        while self._held and (count is None or freed < count):
            self._held.popleft().set_result(None)
            freed += 1
        self._changed()
        return freed

    async def _hold(self) -> None:
        if self.over:
            return
        gate = asyncio.get_running_loop().create_future()
        self._held.append(gate)
        self._changed()
        try:
            await gate
        finally:
            if gate in self._held:
                self._held.remove(gate)


class Faults:
    """All rules."""

    def __init__(self, changed: Callable[[], None], sleep: Sleep) -> None:
        self.rules: dict[str, Rule] = {}
        self._changed = changed
        self._sleep = sleep
        self._numbers = itertools.count(1)

    def add(self, fault: ServiceFault) -> Rule:
        """Puts a rule in force, after those there are."""
        rule = Rule(f"rule-{next(self._numbers)}", fault, self._changed, self._sleep)
        self.rules[rule.id] = rule
        return rule

    def get(self, identifier: str) -> Rule:
        """A rule.

        :raises Refusal: 404 when it is unknown.
        """
        if (rule := self.rules.get(identifier)) is None:
            raise Refusal(404, f"there is no rule {identifier}")
        return rule

    def remove(self, identifier: str) -> Rule:
        """Takes a rule out of force and lets go on what it holds."""
        rule = self.get(identifier)
        del self.rules[identifier]
        rule.release()
        return rule

    def take(self, caller: RunCaller, method: str, path: str) -> Rule | None:
        """The rule that a call follows."""
        return next((rule for rule in self.rules.values() if rule.takes(caller, method, path)), None)


def _path_fits(pattern: str, path: str) -> bool:
    wanted, given = pattern.split("/"), path.split("/")
    if wanted[-1] == "**":
        wanted.pop()
        given = given[: len(wanted)]
    return len(wanted) == len(given) and all(map(fnmatchcase, given, wanted))
