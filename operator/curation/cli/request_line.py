"""A denied request in one line."""

from curation.api.approval import EvaluatedRequest
from curation.api.clipping import clip
from curation.authz.decision import request_url
from curation.cli.text import safe


def request_line(request: EvaluatedRequest, limit: int | None = None) -> str:
    """``POST https://api.example:443/sessions (Submit by module build)``, the URL cut to ``limit`` characters."""
    url = safe(request_url(request))
    return f"{short_request(request, limit or len(url))} ({request.trigger} by module {safe(request.module)})"


def short_request(request: EvaluatedRequest, limit: int) -> str:
    """Method and URL alone."""
    return f"{safe(request.method)} {clip(safe(request_url(request)), limit)}"
