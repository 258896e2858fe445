"""What an event loop reports of something that nobody awaits, and what of that is no error.

For the exception handlers of loops that are uvloop's.
"""

import asyncio
import logging
from typing import Any

log = logging.getLogger(__name__)


def report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log it as the loop does by default, unless it is said of a TLS connection that is closed already.

    Of such a connection nothing is lost. uvloop 0.23 still reads what has come when it is closed (`_do_read` in
    sslproto.pyx), and reports as fatal that what TLS answers cannot be sent any more (`_ensure_alive` in handle.pyx).
    """
    # Trap: whatever the context is of, its transport is closed by then; and a bug may be a RuntimeError too.
    error = context.get("exception")
    if (
        type(error) is RuntimeError
        and str(error).endswith("; the handler is closed")
        and type(context.get("protocol")).__name__ == "SSLProtocol"
    ):
        log.debug("a connection was closed while it was read: %s", error)
    else:
        loop.default_exception_handler(context)
