"""What is asked of whoever runs guests, and what is heard of a run. Neither wasmtime nor the models are loaded."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from curation.wasm.guest_end import GuestEnd
from curation.wasm.limits import MAX_REQUEST_BYTES, LimitHit, LimitName, Limits, size_text

if TYPE_CHECKING:
    import asyncio  # a guest host has no event loop


class Module(Protocol):
    """A module that is compiled: `wasm.store.LoadedModule`."""

    @property
    def digest(self) -> str:
        """Of its WebAssembly."""
        ...

    @property
    def path(self) -> Path:
        """Of its artifact."""
        ...


@dataclass(frozen=True, slots=True)
class GuestRun:
    """One guest that is to be run."""

    module: Module
    context: str
    """The document that it is invoked with."""
    limits: Limits
    log_fields: Mapping[str, object] = field(default_factory=dict)
    """Of a bug of ours in it, where guests run in this process."""


class RefusedFor(StrEnum):
    """Why a call was refused before anybody was asked."""

    HTTP_CALLS = "httpCalls"
    REQUEST_SIZE = "requestSize"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that whoever runs the guest has answered by itself: one that can only be refused costs nobody else."""

    reason: RefusedFor
    used: int = 0
    """Calls so far, or bytes of the request."""

    def hit(self, limits: Limits) -> LimitHit | None:
        """The limit that was hit; None if it was not refused for one."""
        match self.reason:
            case RefusedFor.HTTP_CALLS:
                return LimitHit(LimitName.HTTP_CALLS, str(self.used), str(limits.http_calls))
            case RefusedFor.REQUEST_SIZE:
                return LimitHit(LimitName.REQUEST_SIZE, f"{self.used} bytes", size_text(MAX_REQUEST_BYTES))
            case RefusedFor.STOPPED:
                return None


def error_document(code: str, message: str) -> str:
    """What a call answers that has no response: `api.contract.HttpCallError`, without the models."""
    return json.dumps({"code": code, "message": message}, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class GuestReport:
    """How a guest ended."""

    end: GuestEnd
    log: str = ""
    """The end of what it logged."""
    refused: Refusal | None = None
    """Its last call, if that was refused before anybody was asked."""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0


ANSWER_SLACK_SECONDS: Final = 5.0
"""How much longer than the guest waits whoever answers may: so that a wall limit is a Timeout, not a failed request."""


class Answers(Protocol):
    """Whoever answers the calls of one guest."""

    async def call(self, number: int, request: bytes, seconds: float) -> tuple[bool, str]:
        """The answer to the call with this number, within so many seconds: (True, response) or (False, error).

        On the event loop; one at a time. It is cancelled when the guest does not wait for it any more.
        """
        ...

    def refused(self, request: str, refusal: Refusal) -> None:
        """A call was refused before anybody was asked. In the guest's thread; only of guests in this process."""
        ...

    def resumed(self, calls: int) -> None:
        """The guest has made so many calls for a worker that is gone: each may have left, and its answer is not known.

        Said at most once, before any call.
        """
        ...

    def unknown(self) -> tuple[bool, str]:
        """What the last of these calls is answered, if the guest still waits for it: it is not sent again."""
        ...


class Running(Protocol):
    """A guest that was started."""

    ended: "asyncio.Future[GuestReport]"
    """Raises `Unopened`, `GuestLost`, and what is a bug of ours. Whoever cancels it does not end the guest."""

    def stop(self, answer: str) -> None:
        """Every call from now on gets this answer; if it goes on in its code it is interrupted after a moment."""
        ...

    def abort(self) -> None:
        """Interrupt it at once, or as soon as it comes back from a call."""
        ...


class Guests(Protocol):
    """Whoever runs guests, for one event loop."""

    @property
    def is_ready(self) -> bool:
        """Whether guests can be started."""
        ...

    async def ready(self) -> None:
        """Wait until they can. Raises `GuestLost` where none ever will."""
        ...

    def start(self, run: GuestRun, answers: Answers) -> Running:
        """Run a guest. Raises RuntimeError where there is no thread for it."""
        ...

    def drop(self, digest: str) -> None:
        """What is kept of this module is not needed any more."""
        ...

    async def close(self) -> None:
        """Wait until no guest is left; whoever closes has aborted them."""
        ...


class Unopened(Exception):
    """The artifact of a module is gone, or damaged: nothing of the guest has run."""


class GuestLost(Exception):
    """Nobody will say what became of the guest. Only of one that does not end with the process that is asked."""

    def __init__(self, cause: str, *, over_limit: bool = False) -> None:
        super().__init__(cause)
        self.over_limit = over_limit
        """A limit has ended the process that it was in."""
