"""Where a child begins: see `spawn.spawn`."""

import json
import os
import socket
import sys
from importlib import import_module

from curation.isolation.hardening import NO_MEMORY_EXIT, Hardening, harden


def enter(told: str) -> None:
    """Harden this process, then let it do what it was started for."""
    read = json.loads(told)
    harden(Hardening(**read["hardening"]), parent=read["parent"], keep=[read["channel"]])
    try:
        module, _, function = read["target"].partition(":")
        with socket.socket(fileno=read["channel"]) as channel:
            getattr(import_module(module), function)(channel)
    except MemoryError:
        os._exit(NO_MEMORY_EXIT)
    # What is left need not be torn down piece by piece.
    sys.stderr.flush()
    os._exit(0)
