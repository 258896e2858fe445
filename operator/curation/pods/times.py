"""The times that carrier, worker and Job have to agree about. By themselves: a carrier loads little."""

from typing import Final

START_SECONDS: Final = 600
"""For a pod to be scheduled, its image to be pulled, and its first word; once more for its guest to be started."""
LOST_SECONDS: Final = 600
"""How long after its wall limit a run may still be heard to have ended: for as long its pod comes again."""
