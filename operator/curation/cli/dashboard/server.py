"""The page's server: on 127.0.0.1 alone, and for whoever has the random token alone.

Every request is guarded before anything of it is read: the token is in its path, Host is this very address (so that no
name that points here, DNS rebinding, can speak to it), and what another site's page sends is refused (Origin and
Sec-Fetch-Site). No cookie is used, since those of 127.0.0.1 are shared by all ports. What is written goes to the API
server with the person's own rights, which decides.
"""

import asyncio
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any, Final

import click
from aiohttp import web

from curation.api.approval import MAX_COMMENT, ApprovalDecision, CurationApproval, Scope
from curation.api.job import CurationJob
from curation.cli.access import Cluster, parse
from curation.cli.dashboard.details import approval_details, job_details
from curation.cli.dashboard.feed import Feed, TooManyPages
from curation.cli.deciding import Wanted, decide
from curation.cli.errors import Forbidden, NotFound, PluginError
from curation.cli.when import When
from curation.cluster.answers import Document
from curation.cluster.resources import APPROVALS, EVENTS, JOBS

HOST: Final = "127.0.0.1"
MAX_BODY: Final = 16 << 10
_STATIC: Final = {
    "": ("page.html", "text/html"),
    "app.js": ("app.js", "text/javascript"),
    "views.js": ("views.js", "text/javascript"),
    "style.css": ("style.css", "text/css"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """`start` it, then give the person its `url`; `close` it at the end."""

    def __init__(self, cluster: Cluster, feed: Feed) -> None:
        self._cluster = cluster
        self._feed = feed
        self._token = secrets.token_urlsafe(32)
        self._origin = ""
        self._app = web.Application(middlewares=[self._guarded], client_max_size=MAX_BODY)
        self._app.router.add_get("/{token}/feed", self._told)
        self._app.router.add_get("/{token}/job", self._job)
        self._app.router.add_get("/{token}/approval", self._approval)
        self._app.router.add_post("/{token}/decide", self._decide)
        self._app.router.add_get("/{token}/{name:[a-z.]*}", self._file)
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=0.5)
        self._closing = asyncio.Event()

    @property
    def url(self) -> str:
        """Where the page is, with the token."""
        return f"{self._origin}/{self._token}/"

    async def start(self, port: int) -> None:
        """Listen; port 0 is any free one. Raises OSError."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, port)
        await site.start()
        self._origin = f"http://{HOST}:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        """Stop listening; open pages are told nothing more."""
        self._closing.set()
        await self._runner.cleanup()

    # -- the guard ---------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        problem = self._problem(request)
        if problem is not None:
            return web.Response(status=problem, text="", headers=HEADERS)
        try:
            return await handler(request)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        except click.ClickException as error:
            status = 403 if isinstance(error, Forbidden) else 404 if isinstance(error, NotFound) else 409
            return _answer({"error": error.message}, status)

    def _problem(self, request: web.Request) -> int | None:
        """The status to refuse a request with; None if it may pass."""
        if request.headers.getall("Host", []) != [self._origin.removeprefix("http://")]:
            return 421
        token = (*request.path.split("/", 2), "")[1]  # of OPTIONS * there is no slash
        if not hmac.compare_digest(token.encode(errors="replace"), self._token.encode()):
            return 404
        origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site", "none")
        if origin not in (None, self._origin) or site not in ("none", "same-origin"):
            return 403
        if request.method == "GET":
            return None
        # What writes must come from our own page: browsers send Origin with each of these.
        if request.method != "POST" or origin is None or request.content_type != "application/json":
            return 403
        return None

    # -- what is read ------------------------------------------------------------------------------------------------

    async def _file(self, request: web.Request) -> web.StreamResponse:
        found = _STATIC.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        name, content_type = found
        text = (files("curation.cli.dashboard") / "static" / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=content_type, charset="utf-8", headers=HEADERS)

    async def _told(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
        messages = self._feed.told()
        try:
            first = await anext(messages)
        except TooManyPages:
            return _answer({"error": "too many pages of this dashboard are open: close some"}, 503)
        await response.prepare(request)
        closing = asyncio.create_task(self._closing.wait())
        try:
            await response.write(f"data: {first}\n\n".encode())
            while not closing.done():
                coming = asyncio.ensure_future(anext(messages))
                await asyncio.wait({coming, closing}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    coming.cancel()
                    await asyncio.gather(coming, return_exceptions=True)
                    break
                message = coming.result()
                await response.write((f"data: {message}\n\n" if message else ": alive\n\n").encode())
        except ConnectionError:
            pass  # the page was closed
        finally:
            closing.cancel()
            await messages.aclose()
        return response

    async def _job(self, request: web.Request) -> web.StreamResponse:
        namespace, name = _place(request.query)
        document = self._feed.find(JOBS, namespace, name) or await self._cluster.within(namespace).get(JOBS, name)
        events = await self._events(namespace, str(document["metadata"]["uid"]))
        return _answer(job_details(parse(CurationJob, document), document, events))

    async def _events(self, namespace: str, uid: str) -> list[Document] | None:
        try:
            selector = f"regarding.uid={uid}"
            return await self._cluster.within(namespace).list(EVENTS, field_selector=selector)
        except PluginError:
            return None

    async def _approval(self, request: web.Request) -> web.StreamResponse:
        namespace, name = _place(request.query)
        cluster = self._cluster.within(namespace)
        document = self._feed.find(APPROVALS, namespace, name) or await cluster.get(APPROVALS, name)
        may = await self._may_approve(cluster, name)
        approval = parse(CurationApproval, document)
        users = self._feed.users(namespace, approval.spec.request.module)
        return _answer(approval_details(approval, self._feed.approvals(namespace), users, may, cluster.now()))

    async def _may_approve(self, cluster: Cluster, name: str) -> str:
        """Empty if the API server says that this person may decide; else why not. It is asked again at the decision."""
        for verb in ("patch", "approve"):
            if not await cluster.may(APPROVALS, verb, name):
                return (
                    f"You may not decide here: you lack the verb {verb} on curationapprovals in namespace "
                    f"{cluster.namespace}, which the ClusterRole curation-approver has."
                )
        return ""

    # -- what is written ---------------------------------------------------------------------------------------------

    async def _decide(self, request: web.Request) -> web.StreamResponse:
        try:
            asked = json.loads(await request.text())
            wanted = _wanted(asked)
            namespace, name = _place(asked)
            shown = (str(asked["uid"]), int(asked["generation"]))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise PluginError(f"that is no decision: {error}") from None
        cluster = self._cluster.within(namespace)
        document = await cluster.get(APPROVALS, name)
        metadata = document["metadata"]
        if (str(metadata["uid"]), int(metadata["generation"])) != shown:
            raise PluginError("the approval has changed since it was shown to you: look at it again")
        decided = await decide(cluster, document, wanted)
        said = decided.after.spec.decision.value
        return _answer({"decision": said, "changed": decided.changed, "by": decided.after.spec.decided_by})


def _place(fields: Any) -> tuple[str, str]:
    namespace, name = fields.get("namespace", ""), fields.get("name", "")
    if not isinstance(namespace, str) or not isinstance(name, str) or not namespace or not name:
        raise PluginError("say which: namespace and name")
    return namespace, name


def _wanted(asked: dict[str, Any]) -> Wanted:
    decision = ApprovalDecision(asked["decision"])
    if decision is ApprovalDecision.PENDING:
        raise ValueError("Pending is none")
    comment = asked.get("comment") or None
    if comment is not None and (not isinstance(comment, str) or len(comment) > MAX_COMMENT):
        raise ValueError(f"the comment is a text of at most {MAX_COMMENT} characters")
    scope = Scope(asked["scope"]) if decision is ApprovalDecision.APPROVED else None
    expires: timedelta | datetime | str | None = None
    if asked.get("expires") and decision is not ApprovalDecision.REVOKED:
        expires = When().convert(str(asked["expires"]), None, None)
        if decision is ApprovalDecision.DENIED and isinstance(expires, str):
            expires = None
    return Wanted(decision, scope, expires, comment)


def _answer(document: dict[str, Any], status: int = 200) -> web.Response:
    return web.json_response(document, status=status, headers=HEADERS)
