"""The priority of guests' threads."""

import os
import sys
from typing import Final

GUEST_NICE: Final = 10
"""How much lower the priority of a guest's thread is than that of its process. Of hundreds of guests that compute, on
few processors, each had as much as an event loop, which then took nothing for seconds.

Not SCHED_IDLE: beside four busy threads of a worker's priority on two processors, three milliseconds of a guest took
1.8 s with it, and 0.08 s with this."""


def give_way() -> None:
    """Lower the priority of this thread."""
    if sys.platform == "linux":  # elsewhere a priority is of the whole process
        # 0 is this thread, and all that a guest host may change.
        os.setpriority(os.PRIO_PROCESS, 0, min(19, os.getpriority(os.PRIO_PROCESS, 0) + GUEST_NICE))
