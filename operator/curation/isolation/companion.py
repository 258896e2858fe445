"""A child whose channel another child has: this process starts it, and ends it, and hears nothing of what they say."""

from curation.isolation.hardening import Hardening
from curation.isolation.reaping import Draining, reaped
from curation.isolation.spawn import ChildEnd, Start, spawn


class Companion:
    """Made with a running loop, in the thread that lives as long as the child."""

    def __init__(self, target: str, hardening: Hardening, *, start: Start = spawn) -> None:
        """Starts it: see `child.Child`. Raises OSError."""
        self._spawned = start(target, hardening)
        self.channel = self._spawned.channel
        """To be handed to the other child, and closed: while it is open here neither hears of the other's end."""
        self._draining = Draining(self._spawned)

    @property
    def pid(self) -> int:
        """Its process id; 0 until that is known."""
        return self._spawned.pid

    async def ended(self, seconds: float) -> ChildEnd:
        """How it ended, by itself in so many seconds, else because it is killed then."""
        self._draining.end()
        return await reaped(self._spawned, seconds)
