"""One repository of one registry, asked within bounds: tokens, redirects, tries. Runs in a pull's child.

All connections are the egress client's: each address, a redirect's and a realm's too, is judged by the floor.
"""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Mapping
from typing import Final
from urllib.parse import urlencode, urljoin

from pydantic import BaseModel, ConfigDict, ValidationError

from curation.egress.client import EgressClient, OutboundRequest, OutboundResponse
from curation.egress.errors import AnswerOverBounds, EgressRefused, ResponseTooLarge, Unavailable
from curation.egress.url import CanonicalURL, parse_url
from curation.oci.challenge import Challenge, challenges
from curation.oci.links import next_part
from curation.oci.pull_secret import PullSecret
from curation.oci.reference import Origin, Reference
from curation.wasm.module_errors import ModuleLoadError, ModuleReason

MAX_REDIRECTS: Final = 3
"""Of one request: registries send blobs from storage elsewhere."""
MAX_TOKEN_BYTES: Final = 64 << 10
REQUEST_SECONDS: Final = 30.0
"""Time of one request, but for a module's bytes, which have what is left of the pull's time."""
RETRY_SECONDS: Final = (0.5, 2.0, 5.0)
"""Between tries of one request; a registry may ask for longer."""
MAX_RETRY_AFTER: Final = 15.0

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TOKEN: Final = re.compile(r"[!-~]{1,8000}")
_TRIED_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


class _Token(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    token: str = ""
    access_token: str = ""


class Session:
    """Reads from a repository. For one pull, which bounds its time."""

    def __init__(
        self,
        client: EgressClient,
        reference: Reference,
        secret: PullSecret | None = None,
        retry_seconds: tuple[float, ...] = RETRY_SECONDS,
    ) -> None:
        self._client = client
        self._reference = reference
        self._basic = secret.basic(reference.registry, reference.repository) if secret is not None else None
        self._secret = secret
        self._authorization: str | None = None
        self._retry_seconds = retry_seconds

    async def get(
        self, path: str, *, limit: int, accept: str = "*/*", seconds: float = REQUEST_SECONDS
    ) -> OutboundResponse:
        """The answer to a GET of something in the repository, redirects followed, of any status but 401 and 403.

        Raises ModuleLoadError: for 401 and 403, where there is no usable answer, and for one of over `limit` bytes.
        """
        return await self._got(self._parsed(self._reference.url(path)), accept, limit, seconds)

    async def parts(self, path: str, *, limit: int, accept: str, most: int) -> AsyncIterator[OutboundResponse]:
        """The answer of `get`, and where it is a list in parts, those that follow.

        Raises ModuleLoadError as `get` does, for a next part that is not at the registry, and for more than `most`.
        """
        url = self._parsed(self._reference.url(path))
        for _ in range(most):
            answer = await self._got(url, accept, limit, REQUEST_SECONDS)
            yield answer
            target = next_part(answer.headers.get("link", ""))
            if answer.status != 200 or target is None:
                return
            url = self._followed(url, target)
        raise _failed(f"{self._registry} gives a list in more than {most} parts")

    async def _got(self, url: CanonicalURL, accept: str, limit: int, seconds: float) -> OutboundResponse:
        answer = await self._send(url, accept, limit, seconds, authorized=True)
        if answer.status == 401:
            self._authorization = await self._authorized(answer.headers.get("www-authenticate", ""))
            answer = await self._send(url, accept, limit, seconds, authorized=True)
        redirects = 0
        while answer.status in _REDIRECTS:
            redirects += 1
            if redirects > MAX_REDIRECTS:
                raise _failed(f"{self._registry} redirects more than {MAX_REDIRECTS} times")
            url = self._redirected(url, answer.headers.get("location", ""))
            # Never with the registry's own authorization: what is behind it has its own in the URL.
            answer = await self._send(url, accept, limit, seconds, authorized=False)
        if answer.status in (401, 403):
            raise self._unauthorized(answer.status)
        return answer

    @property
    def _registry(self) -> str:
        return f"the registry {self._reference.registry}"

    async def _send(
        self, url: CanonicalURL, accept: str, limit: int, seconds: float, *, authorized: bool
    ) -> OutboundResponse:
        headers = {"Accept": accept}
        if authorized and self._authorization is not None:
            headers["Authorization"] = self._authorization
        return await self._tried(url, headers, limit, seconds)

    async def _tried(
        self, url: CanonicalURL, headers: Mapping[str, str], limit: int, seconds: float
    ) -> OutboundResponse:
        request = OutboundRequest("GET", url, dict(headers))
        for pause in (*self._retry_seconds, None):
            asked = 0.0
            try:
                answer = await self._client.send(request, timeout=seconds, max_response_bytes=limit)
            except EgressRefused as error:
                raise ModuleLoadError(
                    ModuleReason.PULL_FAILED, f"{self._registry} may not be reached: {error}", may_pass=True
                ) from None
            except ResponseTooLarge as error:
                raise _failed(
                    f"{url.origin} sends at least {error.used} bytes where {limit} are the most: it is not the content "
                    "that the digest names"
                ) from None
            except AnswerOverBounds as error:
                raise _failed(str(error)) from None
            except Unavailable as error:
                what = str(error)
            else:
                if answer.status not in _TRIED_AGAIN:
                    return answer
                what = f"{url.origin} answers {answer.status}"
                asked = _seconds(answer.headers.get("retry-after", ""))
            if pause is None:
                raise _failed(f"{what}, {len(self._retry_seconds) + 1} times in a row")
            await asyncio.sleep(max(pause * random.uniform(0.8, 1.2), min(asked, MAX_RETRY_AFTER)))  # noqa: S311
        raise AssertionError("the last try returns or raises")

    def _parsed(self, url: str) -> CanonicalURL:
        try:
            return parse_url(url)
        except EgressRefused as error:
            raise ModuleLoadError(ModuleReason.INVALID, f"spec.source.oci.ref cannot be asked for: {error}") from None

    def _redirected(self, url: CanonicalURL, location: str) -> CanonicalURL:
        try:
            target = parse_url(urljoin(url.url, location.partition("#")[0]))
        except (EgressRefused, ValueError):
            raise _failed(f"{self._registry} redirects to what is no URL of ours") from None
        if target.scheme != "https":
            raise _failed(f"{self._registry} redirects to http, where anybody on the way can read and change it")
        return target

    def _followed(self, url: CanonicalURL, target: str) -> CanonicalURL:
        try:
            followed = parse_url(urljoin(url.url, target.partition("#")[0]))
        except (EgressRefused, ValueError):
            raise _failed(f"{self._registry} names what is no URL of ours as the next part of a list") from None
        # It gets the registry's authorization, so it must be the registry.
        if followed.origin != url.origin:
            raise _failed(f"{self._registry} has the next part of a list at another host, {followed.origin}")
        return followed

    async def _authorized(self, header: str) -> str:
        """What the registry wants in `Authorization`. Raises ModuleLoadError."""
        offered = challenges(header)
        for each in offered:
            if each.scheme == "bearer" and each.parameters.get("realm"):
                return f"Bearer {await self._token(each)}"
        for each in offered:
            if each.scheme == "basic":
                if self._basic is None:
                    raise self._unauthorized(401)
                return f"Basic {self._basic}"
        if not offered:
            raise self._unauthorized(401)
        raise _failed(f"{self._registry} asks for an authorization that is neither Bearer nor Basic")

    async def _token(self, challenge: Challenge) -> str:
        realm = challenge.parameters["realm"]
        try:
            url = parse_url(realm)
            if url.scheme != "https":
                raise ValueError
            # Our own scope, not the one that it names: the token is to be good for this repository alone.
            query = {"scope": f"repository:{self._reference.repository}:pull"}
            if service := challenge.parameters.get("service"):
                query["service"] = service
            place = url.url.partition("?")[0]
            asked = parse_url(f"{place}?{'&'.join(filter(None, (url.query, urlencode(query))))}")
        except (EgressRefused, ValueError):
            raise _failed(f"{self._registry} names a token service that is no https URL") from None
        headers = {"Accept": "application/json"}
        if self._basic is not None:
            self._may_be_told(Origin(url.host, url.port))
            headers["Authorization"] = f"Basic {self._basic}"
        answer = await self._tried(asked, headers, MAX_TOKEN_BYTES, REQUEST_SECONDS)
        if answer.status in (400, 401, 403):
            raise self._unauthorized(answer.status)
        try:
            if answer.status != 200:
                raise ValueError
            read = _Token.model_validate_json(answer.body)
        except (ValidationError, ValueError):
            raise _failed(f"the token service {url.origin} gives no token (it answers {answer.status})") from None
        token = read.token or read.access_token
        if not _TOKEN.fullmatch(token):
            raise _failed(f"the token service {url.origin} gives no token")
        return token

    def _may_be_told(self, realm: Origin) -> None:
        """Whether the token service may be told the credentials. Raises ModuleLoadError if not."""
        registry = self._reference.registry
        if realm == registry or realm in registry.filed_as:
            return
        # Whoever made the Secret says so by filing the same credentials under both names.
        if self._secret is not None and self._secret.basic(realm) == self._basic:
            return
        raise ModuleLoadError(
            ModuleReason.UNAUTHORIZED,
            f"{self._registry} asks for its credentials at another host, {realm}, which gets none: if you trust it, "
            f"file the same credentials under {realm} too, in the Secret of spec.source.oci.pullSecretRef",
        )

    def _unauthorized(self, status: int) -> ModuleLoadError:
        if self._basic is not None:
            help_ = (
                "the credentials of the Secret in spec.source.oci.pullSecretRef are wrong, or may not pull this "
                "repository"
            )
        elif self._secret is not None:
            help_ = f"the Secret in spec.source.oci.pullSecretRef has no usable entry for {self._reference.registry}"
        else:
            help_ = (
                "name a Secret with credentials for it in spec.source.oci.pullSecretRef, or mend the repository's name"
            )
        return ModuleLoadError(
            ModuleReason.UNAUTHORIZED,
            f"{self._registry} refuses {self._reference.repository} ({status}): {help_}",
        )


def _failed(what: str) -> ModuleLoadError:
    return ModuleLoadError(ModuleReason.PULL_FAILED, what)


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0
