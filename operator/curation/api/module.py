"""CurationModule: a WebAssembly component, where it comes from, what it may use."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from curation.api.cancel import Cancel
from curation.api.identity_headers import IDENTITY_PATTERN, folded, says_who_is_calling
from curation.api.job import Config, Digest, Name
from curation.api.references import DataKey, ObjectName
from curation.api.schema import Condition, Model, ResourceModel, cel, extension, spelled

_QUANTITY = r"^[0-9]+(Ki|Mi|Gi|k|M|G)?$"
_UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "k": 10**3, "M": 10**6, "G": 10**9}

Quantity = Annotated[
    str,
    Field(
        max_length=20,
        pattern=_QUANTITY,
        json_schema_extra=spelled("must be a whole number of bytes with Ki, Mi, Gi, k, M, G or none, such as 64Mi"),
    ),
]
# Headers that HTTP itself or the host sets (docs/fence.md, docs/security.md): no credential may replace them.
_HOST_HEADERS = (
    *("connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "te", "trailer"),
    *(
        "transfer-encoding",
        "upgrade",
        "idempotency-key",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
    ),
)
_HOST_PREFIXES = ("curation-", "proxy-")
_OF_THE_HOST = (
    "is a header that the host itself sets or refuses; name the one that the service reads the credential from"
)

_SPEAKS_AS_ANOTHER = (
    "tells services who is calling, which no credential may: they believe it of whoever sends it; name a header whose"
    " value proves something, such as Authorization or X-Api-Key"
)


def _of_a_credential(header: str) -> str:
    # Not only the API server's rules: an object may be older than they are.
    plain = folded(header)
    if plain in _HOST_HEADERS or plain.startswith(_HOST_PREFIXES):
        raise ValueError(_OF_THE_HOST)
    if says_who_is_calling(header):
        raise ValueError(_SPEAKS_AS_ANOTHER)
    return header


def quantity_bytes(quantity: str) -> int:
    """Bytes of a Quantity of the form that the schema admits: a whole number with Ki, Mi, Gi, k, M, G or none.

    Raises ValueError for any other text.
    """
    digits = quantity.rstrip("KMGik")
    suffix = quantity[len(digits) :]
    if not digits.isascii() or not digits.isdigit() or (suffix and suffix not in _UNITS):
        raise ValueError(f"{quantity!r} is not a quantity such as 64Mi")
    return int(digits) * _UNITS.get(suffix, 1)


def _at_most(field: str, limit: str) -> dict[str, object]:
    return cel(
        f"!has(self.{field}) || (isQuantity(self.{field}) && quantity(self.{field}).isGreaterThan(quantity('0'))"
        f" && quantity(self.{field}).compareTo(quantity('{limit}')) <= 0)",
        f"{field} must be more than 0 and at most {limit}",
        fieldPath=f".{field}",
    )


class ConfigMapSource(Model):
    """A key of a ConfigMap (binaryData or data) in the module's namespace."""

    name: ObjectName
    """Name of the ConfigMap."""
    key: DataKey
    """Key of the ConfigMap that holds the WebAssembly bytes."""


class SecretReference(Model):
    """A Secret in the module's namespace."""

    name: ObjectName
    """Name of the Secret."""


class PublicKey(Model):
    """A key that signs artifacts, by a name that people know it by."""

    name: Name
    """What it is called in the module's status."""
    public_key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=4096,
            pattern=r"^\s*-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----\s*$",
            json_schema_extra=spelled(
                "must be one PUBLIC KEY in PEM, such as cosign.pub of `cosign generate-key-pair`"
            ),
        ),
    ]
    """The key in PEM: ECDSA, RSA of at least 2048 bits, or Ed25519."""


class OCISource(Model):
    """An artifact of an OCI registry, served over https."""

    ref: Annotated[
        str,
        Field(
            min_length=1,
            max_length=512,
            pattern=r"^[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+$",
            json_schema_extra=spelled(
                "must be a registry and a repository, such as registry.example/team/module, without scheme or tag:"
                " digest says which artifact"
            ),
        ),
    ]
    """Registry and repository, such as registry.example/team/module."""
    digest: Digest
    """Digest of the artifact's manifest."""
    pull_secret_ref: SecretReference | None = None
    """A Secret of the type kubernetes.io/dockerconfigjson with credentials for the registry."""
    verify: Annotated[
        tuple[PublicKey, ...],
        Field(max_length=8, json_schema_extra=extension(list_type="map", list_map_keys=["name"])),
    ] = ()
    """Public keys of which one must have signed the artifact with cosign; if left out, none of the module's own."""


class ModuleSource(Model):
    """Where the bytes come from: exactly one of configMap, oci, builtin."""

    model_config: ClassVar = {
        "json_schema_extra": extension(
            cel(
                "[has(self.configMap), has(self.oci), has(self.builtin)].exists_one(x, x)",
                "exactly one of configMap, oci and builtin must be set",
            )
        )
    }

    config_map: ConfigMapSource | None = None
    """A key of a ConfigMap in this namespace."""
    oci: OCISource | None = None
    """An artifact of an OCI registry."""
    builtin: Name | None = None
    """Name of a module that the operator ships, such as build-session-message-v1."""

    @model_validator(mode="after")
    def _names_one(self) -> Self:
        if sum(each is not None for each in (self.config_map, self.oci, self.builtin)) != 1:
            raise ValueError("it is not exactly one of configMap, oci and builtin, which this release knows")
        return self


class ModuleLimits(Model):
    """What one run may use."""

    model_config: ClassVar = {
        "json_schema_extra": extension(
            _at_most("memory", "1Gi"), _at_most("responseSize", "16Mi"), _at_most("outputSize", "32Ki")
        )
    }

    memory: Quantity = "64Mi"
    """Linear memory of the module, at most 1Gi."""
    cpu_seconds: Annotated[int, Field(ge=1, le=300)] = 1
    """Processor time of the whole run, in seconds; waiting for outbound calls does not count."""
    wall_seconds: Annotated[int, Field(ge=1, le=3600)] = 120
    """Time of the whole run, outbound calls included, in seconds."""
    http_calls: Annotated[int, Field(ge=0, le=1024)] = 64
    """Outbound calls of one run."""
    response_size: Quantity = "1Mi"
    """Size of one response's body, at most 16Mi."""
    output_size: Quantity = "32Ki"
    """Size of the module's result, at most 32Ki."""


class SecretKeyReference(Model):
    """A key of a Secret in the module's namespace."""

    name: ObjectName
    """Name of the Secret."""
    key: DataKey
    """Key of the Secret that holds the header's value."""


class Credential(Model):
    """A header that the host adds to requests to exactly one origin; the module never sees it."""

    scheme: Literal["http", "https"] = "https"
    """Scheme of the origin."""
    host: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            # What the host of a canonical URL can be: any other would never match, in silence.
            pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$",
            json_schema_extra=spelled(
                "must be a host alone, in lower-case ASCII, such as api.example.com: no scheme, port, path, underscore"
                " or trailing dot, and no IPv6 address"
            ),
        ),
    ]
    """Host of the origin: a name in lower-case ASCII (IDNA), or an IPv4 address."""
    port: Annotated[int, Field(ge=1, le=65535)] = 443
    """Port of the origin."""
    header: Annotated[
        str,
        Field(
            min_length=1,
            max_length=128,
            pattern=r"^[A-Za-z0-9!#$%&*+.^_`|~-]+$",
            json_schema_extra={
                **spelled("must be the name of a header alone, such as Authorization; its value comes from the Secret"),
                **extension(
                    cel(
                        f"!(self.lowerAscii().replace('_', '-') in {list(_HOST_HEADERS)})"
                        + "".join(
                            f" && !self.lowerAscii().replace('_', '-').startsWith('{each}')" for each in _HOST_PREFIXES
                        ),
                        _OF_THE_HOST,
                    ),
                    cel(f"!self.lowerAscii().matches(r'{IDENTITY_PATTERN}')", _SPEAKS_AS_ANOTHER),
                ),
            },
        ),
        AfterValidator(_of_a_credential),
    ]
    """Name of the header, such as Authorization."""
    secret_key_ref: SecretKeyReference
    """The Secret's key that holds the header's value."""


class ModuleSpec(Model):
    """Where the module comes from and what its runs may use."""

    model_config: ClassVar = {
        "json_schema_extra": extension(
            cel(
                "has(self.source.builtin) || has(self.digest)",
                "digest (sha256:... of the WebAssembly bytes) is required unless source.builtin is used",
                fieldPath=".digest",
            )
        )
    }

    source: ModuleSource
    """Where the bytes come from."""
    digest: Digest | None = None
    """sha256:... of the WebAssembly bytes; required unless the source is builtin."""
    limits: ModuleLimits = ModuleLimits()
    """What one run may use."""
    credentials: Annotated[
        tuple[Credential, ...],
        Field(
            max_length=16,
            json_schema_extra=extension(list_type="map", list_map_keys=["scheme", "host", "port", "header"]),
        ),
    ] = ()
    """Headers that the host adds to requests to exactly the named origin; one value for each origin and header."""
    cancel: Cancel | None = None
    """Its Cancel requests: under Cancel an approval covers exactly these, on its origin; if left out, all of it."""
    config: Config = Field(default={})
    """Configuration for every job of this module; the job's own keys win."""

    @model_validator(mode="after")
    def _has_a_digest(self) -> Self:
        if self.source.builtin is None and self.digest is None:
            raise ValueError("digest is required unless source.builtin is used")
        return self


class ModuleStatus(Model):
    """Whether the module can be run."""

    observed_generation: int = -1
    """The last metadata.generation that the operator has acted on."""
    digest: Annotated[str, Field(max_length=80)] = ""
    """sha256:... of the bytes that were loaded."""
    size_bytes: Annotated[int, Field(ge=0)] | None = None
    """Size of the bytes that were loaded."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(max_length=16, json_schema_extra=extension(list_type="map", list_map_keys=["type"])),
    ] = ()
    """Ready, with reasons Compiled, DigestMismatch, AbiMismatch, TooLarge, NotFound, UnknownBuiltin, Invalid,
    PullFailed, Unauthorized, NotSigned, Terminating; Stalled where only another spec can help; of source.oci Pulled,
    and SignatureVerified where a signature is required."""


class CurationModule(ResourceModel):
    """A WebAssembly component that jobs run: it prepares the work and starts a session through the gated http_call."""

    derived_status: ClassVar = frozenset({"observedGeneration", "digest", "sizeBytes", "conditions"})

    spec: ModuleSpec
    """Where the module comes from and what its runs may use."""
    status: ModuleStatus = ModuleStatus()
    """Whether the module can be run."""


__all__ = [
    "CurationModule",
    "ModuleLimits",
    "ModuleSpec",
    "ModuleStatus",
    "Name",
    "OCISource",
    "PublicKey",
    "quantity_bytes",
]
