"""The documents of a registry that a pull reads, as far as it reads them. Pure.

An artifact is a manifest with one layer of the media type `application/wasm`, which is what `oras push` (given that
type) and `wkg oci push` write. What else is in it, such as the config, says nothing that is needed here.
"""

import re
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curation.wasm.module_errors import ModuleLoadError, ModuleReason
from curation.wasm.module_size import MAX_MODULE_BYTES

WASM: Final = "application/wasm"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"

MAX_MANIFEST_BYTES: Final = 256 << 10
_MAX_ENTRIES: Final = 256
_MAX_READ: Final = 4096
"""Entries of a list that others may add to; its bytes are bounded before."""
_PUSH: Final = (
    "push the component as one layer of it: `oras push REF:TAG FILE.wasm:application/wasm`, or `wkg oci push`"
)
_NO_TYPE: Final = re.compile(r"[^A-Za-z0-9.+/_;=-]")

_SHA256: Final = r"^sha256:[0-9a-f]{64}$"


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore")


class Descriptor(_Document):
    """What a document says of another one."""

    media_type: str = Field(default="", alias="mediaType", max_length=255)
    digest: str = Field(pattern=_SHA256)
    size: int = Field(ge=0, lt=1 << 53)
    artifact_type: str = Field(default="", alias="artifactType", max_length=255)
    annotations: dict[str, str] = {}


class Manifest(_Document):
    """An artifact."""

    media_type: str = Field(default="", alias="mediaType", max_length=255)
    layers: tuple[Descriptor, ...] = Field(default=(), max_length=_MAX_ENTRIES)


class _Entries(_Document):
    layers: list[object] = []
    manifests: list[object] = []


class _Kind(_Document):
    media_type: str = Field(default="", alias="mediaType", max_length=255)
    manifests: object = None
    layers: object = None


def read_manifest(content: bytes) -> Manifest:
    """A manifest. Raises ValueError, whose text quotes nothing of the content, if it is none."""
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(_where(error)) from None


def readable(content: bytes | None, field: Literal["layers", "manifests"]) -> list[Descriptor]:
    """The descriptors of a manifest or an index that can be read; of one that cannot, the others still count.

    For what others may add to, such as signatures: a descriptor by SHA-512, say, hides none beside it.
    """
    try:
        entries = _Entries.model_validate_json(content or b"{}")
    except ValidationError:
        return []
    found = []
    for entry in (entries.layers if field == "layers" else entries.manifests)[:_MAX_READ]:
        try:
            found.append(Descriptor.model_validate(entry))
        except ValidationError:
            continue
    return found


def wasm_layer(content: bytes, module_digest: str) -> Descriptor:
    """The layer with the module, of a manifest whose digest is as it should be. Raises ModuleLoadError."""
    try:
        kind = _Kind.model_validate_json(content)
        manifest = read_manifest(content)
    except ValidationError as error:
        raise _unfit(f"what spec.source.oci.digest names is no manifest ({_where(error)})") from None
    except ValueError as error:
        raise _unfit(f"what spec.source.oci.digest names is no manifest ({error})") from None
    if kind.media_type in (OCI_INDEX, DOCKER_LIST) or (kind.manifests is not None and kind.layers is None):
        raise _unfit(
            "spec.source.oci.digest names an index of several manifests: name the digest of the one with the module "
            "(`oras manifest fetch REF@DIGEST` lists them)"
        )
    found = [layer for layer in manifest.layers if layer.media_type == WASM]
    if len(found) != 1:
        there = ", ".join(sorted({_NO_TYPE.sub("", each.media_type)[:80] or "none" for each in manifest.layers})[:4])
        raise _unfit(
            f"the artifact has {len(found)} layers of the media type {WASM} (those it has: {there or 'none'}): {_PUSH}"
        )
    layer = found[0]
    if layer.digest != module_digest:
        raise ModuleLoadError(
            ModuleReason.DIGEST_MISMATCH,
            f"the artifact holds the module {layer.digest}, spec.digest says {module_digest}: fix whichever is wrong",
            may_pass=False,
        )
    if layer.size > MAX_MODULE_BYTES:
        raise ModuleLoadError(
            ModuleReason.TOO_LARGE,
            f"the module has {layer.size} bytes, at most {MAX_MODULE_BYTES} are accepted: strip it, optimize for size",
        )
    return layer


def _unfit(what: str) -> ModuleLoadError:
    return ModuleLoadError(ModuleReason.INVALID, what)


def _where(error: ValidationError) -> str:
    """Which field, and what is wrong: pydantic's own words for it quote no input."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"][:4] if isinstance(part, int) or str(part).isidentifier())
    return f"{place or 'the document'}: {first['type']}"
