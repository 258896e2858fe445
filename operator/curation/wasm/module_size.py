"""How large a module may be. Nothing else is imported here: a pull's child takes it too, and needs no wasmtime."""

from typing import Final

MAX_MODULE_BYTES: Final = 32 << 20
"""What is kept of a module in memory, more than once, before anything is known about it. A component of Python or of
JavaScript contains its interpreter: 18 and 12 MB."""
