"""What a request asks of the API server, read from its method and URL: the labels of the request metrics.

kopf's watches pass the same place as our own calls, so the URL is the only thing that all requests have.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks."""

    verb: str
    """The Kubernetes verb; `dry-run` for what is to have no effect."""
    resource: str
    """With the subresource (``curationjobs/status``), or ``nonresource``."""
    namespace: str = ""
    """Empty: of all namespaces, or of none."""


RequestObserver = Callable[[Asked, str, float], None]
"""Called with (what was asked, code, seconds) after each request; the code is ``<error>`` when no answer came."""

NO_ANSWER = "<error>"

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


def describe(method: str, path: str, query: Mapping[str, str]) -> Asked:
    """What a request with this method and URL asks."""
    resource, namespace, named = _place(path)
    if method == "GET":
        watched = "watch" in query and query["watch"] not in ("false", "0")
        verb = "watch" if watched else "get" if named or resource == "nonresource" else "list"
    elif query.get("dryRun"):
        verb = "dry-run"
    elif method == "DELETE":
        verb = "delete" if named else "deletecollection"
    else:
        verb = _VERBS.get(method, method.lower())
    return Asked(verb, resource, namespace)


@lru_cache(maxsize=1024)
def _place(path: str) -> tuple[str, str, bool]:
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        parts = parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        parts = parts[3:]
    else:
        return "nonresource", "", False
    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    return "/".join(parts[0:1] + parts[2:3]), namespace, len(parts) > 1
