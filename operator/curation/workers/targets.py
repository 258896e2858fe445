"""What the processes of this package are started with: see `isolation.spawn`. By itself, since their code is large."""

from typing import Final

TEMPLATE: Final = "curation.workers.template:main"
WORKER: Final = "curation.workers.worker:main"

GUEST_HOST_ENDED_EXIT: Final = 72
"""The exit code of a worker whose guest host has ended."""
