"""What is asked of whoever has pods made for guests, and of whoever judges who knocks at the door.

Both are on the operator's side and know the cluster; what is here knows nothing of it.
"""

from dataclasses import dataclass
from typing import Protocol

from curation.execution.seam import ExecutionRequest
from curation.lifecycle.outcome import Liveness


class GuestPods(Protocol):
    """Has the pods of executions made and removed. For the event loop: nothing waits, nothing raises."""

    def start(self, request: ExecutionRequest, artifact_bytes: int) -> None:
        """Its worker awaits a pod: make its Job, if there is none. May be said again.

        Its compiled module has so many bytes, which its pod holds in memory beside what its limits name.
        """
        ...

    def ended(self, execution: str) -> None:
        """It has ended and is settled, or was lost: its Job goes. Of one that has none it changes nothing."""
        ...

    def liveness(self, execution: str) -> Liveness:
        """ALIVE while there is its Job, also one of which nothing more is to come, which is then said as its loss; GONE
        if there is none; UNKNOWN while nothing was read yet."""
        ...


@dataclass(frozen=True, slots=True)
class Knock:
    """What a pod says at the door. A stranger's, but for its bounds."""

    execution: str
    token: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """It is the pod of this execution, and the job's status says so."""

    pod: str
    """Its name, for logs."""


@dataclass(frozen=True, slots=True)
class Turned:
    """It may not in."""

    why: str
    """A sentence that whoever knocks may read."""
    final: bool
    """Whether it need not come again: else it may at another time, or at another replica."""


class Doorkeeper(Protocol):
    """Judges who knocks."""

    async def judge(self, knock: Knock) -> Admitted | Turned:
        """Whether this is the first pod of this execution, which is written down before this returns. Never raises."""
        ...
