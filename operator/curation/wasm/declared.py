"""The Cancel requests of modules: what their object declares, or what ships with a builtin one."""

from typing import Final

from curation.api.cancel import CancelRequest
from curation.api.module import ModuleSpec

# Its base URL (api_url) may have a path of its own: up to two segments are foreseen, a deeper one declares spec.cancel.
_PREFIXES: Final = ("", "/*", "/*/*")
_BUILTIN: Final[dict[str, tuple[CancelRequest, ...]]] = {
    "build-session-message-v1": tuple(
        CancelRequest(method="POST", path=f"{prefix}/{collection}/*/cancel")
        for prefix in _PREFIXES
        for collection in ("sessions", "runs")
    ),
    # JSON-RPC posts every call to the one path of the agent; HTTP+JSON lists, gets and cancels under /tasks.
    "a2a-v1": (
        *(CancelRequest(method="POST", path=path) for path in ("/", "/*", "/*/*", "/*/*/*", "/*/*/tasks/*")),
        *(CancelRequest(method="GET", path=f"{prefix}/tasks{one}") for prefix in _PREFIXES for one in ("", "/*")),
    ),
}


def declared_cancel(spec: ModuleSpec) -> tuple[CancelRequest, ...] | None:
    """What the module may send under Cancel where a call of it was approved; None if it declares nothing."""
    if spec.cancel is not None or spec.source.builtin is None:
        return spec.cancel
    return _BUILTIN.get(spec.source.builtin)
