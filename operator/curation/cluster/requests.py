"""What a request asks of the API server, read from its method and URL: the labels of the request metrics.

kopf's watches pass the same place as our own calls, so the URL is the only thing that all requests have.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

RequestObserver = Callable[[str, str, str, float], None]
"""Called with (verb, resource, code, seconds) after each request; the code is ``<error>`` when no answer came."""

NO_ANSWER = "<error>"

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


def describe(method: str, path: str, query: Mapping[str, str]) -> tuple[str, str]:
    """The Kubernetes verb, and the resource (``curationjobs/status``) or ``nonresource``."""
    resource, named = _resource(path)
    if method == "GET":
        if "watch" in query and query["watch"] not in ("false", "0"):
            return "watch", resource
        return ("get" if named or resource == "nonresource" else "list"), resource
    if method == "DELETE":
        return ("delete" if named else "deletecollection"), resource
    return _VERBS.get(method, method.lower()), resource


@lru_cache(maxsize=1024)
def _resource(path: str) -> tuple[str, bool]:
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        parts = parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        parts = parts[3:]
    else:
        return "nonresource", False
    if parts[0] == "namespaces" and len(parts) > 2:
        parts = parts[2:]
    return "/".join(parts[0:1] + parts[2:3]), len(parts) > 1
