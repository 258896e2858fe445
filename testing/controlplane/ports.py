"""A port for the API server that nothing else takes while the server is down for a fault test. Called by `server`."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_LOWEST = 15000
_DEFAULT_EPHEMERAL = 32768  # Linux' default of ip_local_port_range, for systems that do not say


def free_port() -> int:
    """A port of 127.0.0.1 that is free now, below those that the kernel gives to outgoing connections.

    An outgoing connection could take an ephemeral port while the server restarts; worse, a client that retries a
    connection to a closed ephemeral port of its own machine sooner or later connects to itself. Another process may
    still take the port before the server does: the caller tries again then.
    """
    try:
        low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        low = _DEFAULT_EPHEMERAL
    candidates = range(_LOWEST, low) if low - _LOWEST >= 1000 else range(1)
    # SystemRandom: a test that seeds the global generator must not make parallel runs choose alike.
    chooser = random.SystemRandom()
    for _ in range(100):
        port = chooser.choice(candidates)
        with socket.socket() as probe:
            # As the server does: a connection of a former server in TIME_WAIT does not matter.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")
