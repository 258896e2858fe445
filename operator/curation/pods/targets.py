"""What the processes of this package are started with: see `isolation.spawn`. By itself, since their code is large."""

from typing import Final

DOOR: Final = "curation.pods.door:main"
