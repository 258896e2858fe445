"""What an event loop reports as an error of something that nobody awaits, and that is none.

For the exception handlers of loops that are uvloop's.
"""

from typing import Any


def is_of_closed_connection(context: dict[str, Any]) -> bool:
    """Whether `loop.call_exception_handler` is told of a TLS connection that is closed already: nothing of it is lost.

    uvloop 0.23 still reads what has come when a connection is closed (`_do_read` in sslproto.pyx), and reports it as
    fatal that what TLS answers cannot be sent any more (`_ensure_alive` in handle.pyx).
    """
    # Trap: whatever the context is of, its transport is closed by then; and a bug may be a RuntimeError too.
    error = context.get("exception")
    return (
        type(error) is RuntimeError
        and str(error).endswith("; the handler is closed")
        and type(context.get("protocol")).__name__ == "SSLProtocol"
    )
