"""One pull: the manifest by its digest, then signatures, then the module by its digest. Runs in a child.

The order is what a stranger can make us do: nothing is read of an artifact that is not signed as it has to be, and a
module's bytes only once all that is said of them fits.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from curation.egress.client import OutboundResponse
from curation.oci.documents import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    MAX_MANIFEST_BYTES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    readable,
    wasm_layer,
)
from curation.oci.session import REQUEST_SECONDS, Session
from curation.oci.signatures import (
    BUNDLE,
    BUNDLE_PREFIX,
    MAX_BUNDLE_BYTES,
    MAX_PAYLOAD_BYTES,
    PREDICATE_ANNOTATION,
    SIGN_PREDICATE,
    SIGNATURE_ANNOTATION,
    SIMPLE_SIGNING,
    Key,
    signed_in_bundle,
    signed_simply,
)
from curation.wasm.module_errors import ModuleLoadError, ModuleReason

MAX_SIGNATURES: Final = 64
"""That are looked at, of each form: whoever may push to the repository chooses how many there are."""
MAX_PARTS: Final = 16
"""Of the list of what refers to an artifact."""
_ANY_MANIFEST: Final = ", ".join((OCI_MANIFEST, DOCKER_MANIFEST, OCI_INDEX, DOCKER_LIST))


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull gives."""

    content: bytes
    signed_by: tuple[str, ...]
    """Names of the keys that have signed it, of those that were asked for."""


async def pull(
    session: Session, digest: str, module_digest: str, demands: Sequence[Sequence[Key]], seconds: float
) -> Pulled:
    """The module in the artifact with this manifest's digest; of each of the `demands` one key must have signed it.

    `seconds` bound the transfer of the module. Raises ModuleLoadError.
    """
    manifest = await _found(session, f"manifests/{digest}", digest, MAX_MANIFEST_BYTES, _ANY_MANIFEST)
    if manifest is None:
        raise ModuleLoadError(
            ModuleReason.NOT_FOUND,
            "the repository has no artifact with the digest of spec.source.oci.digest: push it, or name the digest "
            "that the push has printed",
        )
    signed_by = await _signed_by(session, digest, demands)
    layer = wasm_layer(manifest, module_digest)
    content = await _blob(session, layer, layer.size, seconds)
    if content is None:
        raise ModuleLoadError(ModuleReason.NOT_FOUND, "the repository has the artifact, but not its module: push again")
    return Pulled(content, signed_by)


async def _signed_by(session: Session, digest: str, demands: Sequence[Sequence[Key]]) -> tuple[str, ...]:
    """Names of keys that have signed it, one of each demand at the least. Raises ModuleLoadError."""
    keys = [key for demand in demands for key in demand]
    if not keys:
        return ()
    by: set[Key] = set()
    found = 0

    def enough() -> bool:
        return all(any(key in by for key in demand) for demand in demands)

    unread: list[str] = []
    async for signers in _signatures(session, digest, keys, unread):
        found += 1
        by.update(signers)
        if enough():
            return tuple(dict.fromkeys(key.name for key in keys if key in by))
    lacking = next(demand for demand in demands if not any(key in by for key in demand))
    names = " or ".join(sorted(key.name for key in lacking))
    what = f"has {found} signatures, none of them by the key {names}" if found else "is not signed"
    raise ModuleLoadError(
        ModuleReason.NOT_SIGNED,
        f"the artifact {what}: sign it with that key (`cosign sign --key ... REF@DIGEST`); a signature of the key "
        f"{names} is required" + (f" (not all that is there can be read: {unread[0]})" if unread else ""),
    )


async def _signatures(
    session: Session, digest: str, keys: Sequence[Key], unread: list[str]
) -> AsyncIterator[list[Key]]:
    """For each signature that is there, of either form, the keys that it is by.

    Whoever may push adds to them: what is wrong with one goes into `unread`, and stops none of the others.
    """
    async for layer in _simple(session, digest):
        try:
            payload = await _blob(session, layer, MAX_PAYLOAD_BYTES)
        except ModuleLoadError as error:
            unread.append(error.message)
            continue
        if payload is not None:
            yield signed_simply(payload, layer.annotations.get(SIGNATURE_ANNOTATION, ""), digest, keys)
    for referrer in await _bundles(session, digest, unread):
        try:
            bundle = await _bundle(session, referrer)
        except ModuleLoadError as error:
            unread.append(error.message)
            continue
        if bundle is not None:
            yield signed_in_bundle(bundle, digest, keys)


async def _bundle(session: Session, referrer: Descriptor) -> bytes | None:
    content = await _document(session, f"manifests/{referrer.digest}", referrer.digest, OCI_MANIFEST)
    layer = next(iter(readable(content, "layers")), None)
    if layer is None or not layer.media_type.startswith(BUNDLE_PREFIX):
        return None
    return await _blob(session, layer, MAX_BUNDLE_BYTES)


async def _simple(session: Session, digest: str) -> AsyncIterator[Descriptor]:
    content = await _document(
        session, f"manifests/{digest.replace(':', '-')}.sig", None, f"{OCI_MANIFEST}, {DOCKER_MANIFEST}"
    )
    for layer in [each for each in readable(content, "layers") if each.media_type == SIMPLE_SIGNING][:MAX_SIGNATURES]:
        yield layer


async def _bundles(session: Session, digest: str, unread: list[str]) -> list[Descriptor]:
    """What refers to the artifact and may be a bundle with its signature: by the referrers API, else by its tag."""
    found = await _referrers(session, digest, unread)
    if found is None:
        content = await _document(session, f"manifests/{digest.replace(':', '-')}", None, OCI_INDEX)
        found = _likely(readable(content, "manifests"))
    return found


def _likely(referrers: Sequence[Descriptor]) -> list[Descriptor]:
    """Those that may be bundles with signatures, the most likely ones first, so many as are looked at."""
    fitting = [
        each
        for each in referrers
        # A registry that fills in the type from the config may leave it out.
        if (not each.artifact_type or each.artifact_type.startswith(BUNDLE_PREFIX))
        and each.annotations.get(PREDICATE_ANNOTATION, SIGN_PREDICATE) == SIGN_PREDICATE
    ]
    return sorted(fitting, key=lambda referrer: referrer.artifact_type != BUNDLE)[:MAX_SIGNATURES]


async def _referrers(session: Session, digest: str, unread: list[str]) -> list[Descriptor] | None:
    """What the referrers API lists; None where there is none. What keeps the rest of a list away goes into `unread`."""
    found: list[Descriptor] | None = None
    try:
        async for answer in session.parts(
            f"referrers/{digest}", limit=MAX_MANIFEST_BYTES, accept=OCI_INDEX, most=MAX_PARTS
        ):
            if answer.status == 200:
                found = _likely([*(found or ()), *readable(answer.body, "manifests")])
            elif found is not None:
                unread.append(f"the registry answers {answer.status} to a part of the list of signatures")
    except ModuleLoadError as error:
        if found is not None:
            unread.append(error.message)
        # The manifest of this repository was given: what refuses this is a registry that does not know the API.
        elif error.reason is not ModuleReason.UNAUTHORIZED:
            raise
    return found


async def _found(session: Session, path: str, digest: str | None, limit: int, accept: str) -> bytes | None:
    """Content, checked by its digest if one is given; None if there is none. Raises ModuleLoadError."""
    answer = await session.get(path, limit=limit, accept=accept)
    return _content(answer, digest)


async def _document(session: Session, path: str, digest: str | None, accept: str) -> bytes | None:
    return await _found(session, path, digest, MAX_MANIFEST_BYTES, accept)


async def _blob(session: Session, layer: Descriptor, limit: int, seconds: float = REQUEST_SECONDS) -> bytes | None:
    if layer.size > limit:
        return None
    answer = await session.get(f"blobs/{layer.digest}", limit=max(layer.size, 1), seconds=seconds)
    content = _content(answer, layer.digest)
    if content is not None and len(content) != layer.size:
        raise ModuleLoadError(
            ModuleReason.PULL_FAILED,
            f"the registry gives {len(content)} bytes where the manifest says {layer.size}",
        )
    return content


def _content(answer: OutboundResponse, digest: str | None) -> bytes | None:
    if answer.status in (404, 410):
        return None
    if answer.status != 200:
        raise ModuleLoadError(ModuleReason.PULL_FAILED, f"the registry answers {answer.status}{_code(answer)}")
    if digest is not None and f"sha256:{hashlib.sha256(answer.body).hexdigest()}" != digest:
        raise ModuleLoadError(
            ModuleReason.DIGEST_MISMATCH,
            f"the registry gives other bytes than {digest} says: it is broken, or somebody on the way changes them",
        )
    return answer.body


_CODES: Final = frozenset(
    {
        *("BLOB_UNKNOWN", "DENIED", "MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN"),
        *("SIZE_INVALID", "TOOMANYREQUESTS", "UNAUTHORIZED", "UNSUPPORTED"),
    }
)


def _code(answer: OutboundResponse) -> str:
    """The code of a registry's error, of those that are defined: nothing else of an answer is ever repeated."""
    try:
        code = json.loads(answer.body)["errors"][0]["code"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    return f" ({code})" if isinstance(code, str) and code in _CODES else ""
