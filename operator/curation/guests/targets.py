"""What the processes of this package are started with: see `isolation.spawn`. By itself, since wasmtime is large."""

from typing import Final

TEMPLATE: Final = "curation.guests.template:main"
GUEST_HOST: Final = "curation.guests.host:main"
