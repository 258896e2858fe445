"""What can be seen of one execution beside its report: each call as the guest made it, and what the guest used.

The operator needs none of it; `curation-operator try` shows it. Called in the guest's own thread, between its steps.
"""

from typing import Protocol

from curation.execution.calls import CallResult
from curation.wasm.guest_end import GuestEnd


class GuestProbe(Protocol):
    """Notified of what a guest does. It must not raise, nor take long: the guest's time goes on."""

    def on_guest_call(self, request: str, answer: CallResult | None, seconds: float) -> None:
        """A call ended: the guest's own document, unchecked and of any size, and its answer; None: it was cut short."""
        ...

    def on_guest_end(self, end: GuestEnd, cpu_seconds: float, wall_seconds: float) -> None:
        """The guest ended, having used so much of its limits."""
        ...
