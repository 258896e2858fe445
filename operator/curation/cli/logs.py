"""The operator's log on stderr: text for people, JSON lines for machines; what others wrote forges no line of it."""

import logging
import sys
import threading
from types import TracebackType
from typing import Final

from pythonjsonlogger.json import JsonFormatter

from curation.cli.text import safe

log = logging.getLogger(__name__)

_CONTINUED: Final = "    | "


class LineFormatter(logging.Formatter):
    """A record is one line, that of a traceback is marked.

    Messages quote what tenants, services and the API server wrote. A line break in it is shown as ``\\n``, and what
    could steer a terminal as an escape, so that no text imitates a line of ours, or hides one.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """See logging."""
        return _one_line(super().formatMessage(record))

    def formatException(  # noqa: N802 - logging's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """See logging. The text of an exception may quote others too, with line breaks."""
        return _marked(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        """See logging."""
        return _marked(stack_info)


def _one_line(text: str) -> str:
    return text if text.isprintable() else safe(text.replace("\n", "\\n").replace("\t", "\\t"))


def _marked(text: str) -> str:
    return "\n".join(_CONTINUED + _one_line(line) for line in text.split("\n"))


def configure_logging(log_format: str, level: str) -> None:
    """Log to stderr, in ``text`` or ``json``, with what Python itself would print there without a form."""
    handler = logging.StreamHandler()
    if log_format == "json":
        fields = {"asctime": "time", "levelname": "level", "name": "logger"}
        # Trap: json escapes line breaks and the rest of ASCII's control characters; those of Unicode only so.
        handler.setFormatter(
            JsonFormatter(
                "%(asctime)s %(levelname)s %(name)s %(message)s", rename_fields=fields, json_ensure_ascii=True
            )
        )
    else:
        handler.setFormatter(LineFormatter("%(asctime)s %(levelname)-7s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # kopf says a line for each object and each watch that is renewed.
    logging.getLogger("kopf").setLevel(logging.DEBUG if level == "debug" else logging.WARNING)
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    threading.excepthook = _thread_failed
    sys.excepthook = _failed
    sys.unraisablehook = _unraisable


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None and not issubclass(failed.exc_type, SystemExit):
        name = failed.thread.name if failed.thread is not None else "?"
        log.error("the thread %s failed", name, exc_info=failed.exc_value)


def _failed(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("the operator failed", exc_info=error)


def _unraisable(failed: "sys.UnraisableHookArgs") -> None:
    if failed.exc_value is not None:
        log.error("%s: %r", failed.err_msg or "ignored in a finalizer", failed.object, exc_info=failed.exc_value)
