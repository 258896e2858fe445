"""Signatures of cosign, verified by keys that are known: what is signed is the digest of the artifact's manifest. Pure.

Both forms. The first is a payload of "simple signing" with the signature in an annotation; cosign 2 writes it by
default. The second is a Sigstore bundle: an in-toto statement in a DSSE envelope; cosign 3 writes it by default. A key
is trusted for itself, so neither certificates nor the entries of a transparency log are looked at.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from nacl.bindings import (
    crypto_sign_BYTES,
    crypto_sign_ed25519ph_final_verify,
    crypto_sign_ed25519ph_state,
    crypto_sign_ed25519ph_update,
)
from nacl.exceptions import BadSignatureError
from pydantic import BaseModel, ConfigDict, Field

SIMPLE_SIGNING: Final = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE_ANNOTATION: Final = "dev.cosignproject.cosign/signature"
BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUNDLE_PREFIX: Final = "application/vnd.dev.sigstore.bundle"
PREDICATE_ANNOTATION: Final = "dev.sigstore.bundle.predicateType"
SIGN_PREDICATE: Final = "https://sigstore.dev/cosign/sign/v1"
"""What a statement that is a signature says; another one (a bill of materials, say) is not meant as one."""
MAX_PAYLOAD_BYTES: Final = 64 << 10
MAX_BUNDLE_BYTES: Final = 256 << 10

_SIMPLE_TYPE: Final = "cosign container image signature"
_STATEMENTS: Final = frozenset({"https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"})
_IN_TOTO: Final = "application/vnd.in-toto+json"
_MIN_RSA_BITS: Final = 2048
_PEM: Final = re.compile(r"\s*-----BEGIN PUBLIC KEY-----[A-Za-z0-9+/=\s]+-----END PUBLIC KEY-----\s*")

_Verify = Callable[[bytes, bytes], bool]


class BadKey(ValueError):
    """Text that is no public key of a kind that is known; says what is."""


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """A public key, and what people call it.

    Two keys are never equal: whoever writes a module chooses the names in its `verify`, and so a name says nothing.
    """

    name: str
    verifies: _Verify
    """Whether a signature is of this key, over this message."""

    @classmethod
    def read(cls, name: str, pem: str) -> "Key":
        """Raises BadKey."""
        if not _PEM.fullmatch(pem):
            raise BadKey("it is not one PUBLIC KEY in PEM, such as `cosign generate-key-pair` writes to cosign.pub")
        try:
            key = load_pem_public_key(pem.encode())
        except (ValueError, UnsupportedAlgorithm):
            raise BadKey("it is no public key that can be read") from None
        match key:
            case ec.EllipticCurvePublicKey():
                return cls(name, _ecdsa(key))
            case rsa.RSAPublicKey() if key.key_size >= _MIN_RSA_BITS:
                return cls(name, _rsa(key))
            case ed25519.Ed25519PublicKey():
                return cls(name, _ed25519(key))
        raise BadKey(f"it is of no kind that is known: ECDSA, RSA of at least {_MIN_RSA_BITS} bits, or Ed25519")


def signed_simply(payload: bytes, signature: str, manifest_digest: str, keys: Iterable[Key]) -> list[Key]:
    """The keys by which this payload and its annotation are a signature of the artifact."""
    try:
        raw = base64.b64decode(signature, validate=True)
        read = _Simple.model_validate_json(payload).critical
    except (binascii.Error, ValueError):
        return []
    if read.type != _SIMPLE_TYPE or read.image.digest != manifest_digest:
        return []
    return [key for key in keys if key.verifies(raw, payload)]


def signed_in_bundle(bundle: bytes, manifest_digest: str, keys: Sequence[Key]) -> list[Key]:
    """The keys by which this bundle is a signature of the artifact."""
    try:
        envelope = _Bundle.model_validate_json(bundle).envelope
        payload = base64.b64decode(envelope.payload, validate=True)
        raw = [base64.b64decode(each.sig, validate=True) for each in envelope.signatures]
        statement = _Statement.model_validate_json(payload)
    except (binascii.Error, ValueError):
        return []
    if envelope.payload_type != _IN_TOTO or statement.type not in _STATEMENTS:
        return []
    if statement.predicate_type != SIGN_PREDICATE:
        return []
    algorithm, _, value = manifest_digest.partition(":")
    if not any(subject.digest.get(algorithm) == value for subject in statement.subject):
        return []
    message = pre_authentication_encoding(envelope.payload_type, payload)
    return [key for key in keys if any(key.verifies(each, message) for each in raw)]


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """What DSSE signs (its protocol, version 1): type and payload, each behind its length."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class _Image(_Read):
    digest: str = Field(alias="docker-manifest-digest")


class _Critical(_Read):
    image: _Image
    type: str


class _Simple(_Read):
    critical: _Critical


class _Signature(_Read):
    sig: str


class _Envelope(_Read):
    payload: str
    payload_type: str = Field(alias="payloadType")
    signatures: tuple[_Signature, ...] = Field(max_length=8)


class _Bundle(_Read):
    envelope: _Envelope = Field(alias="dsseEnvelope")


class _Subject(_Read):
    digest: dict[str, str] = Field(max_length=8)


class _Statement(_Read):
    type: str = Field(alias="_type")
    predicate_type: str = Field(alias="predicateType")
    subject: tuple[_Subject, ...] = Field(max_length=64)


def _ecdsa(key: ec.EllipticCurvePublicKey) -> _Verify:
    # cosign hashes with SHA-256 whatever the curve; Sigstore's newer signers with what is as long as the curve.
    by_size = {384: hashes.SHA384(), 521: hashes.SHA512()}
    tried: list[hashes.HashAlgorithm] = [hashes.SHA256()]
    if key.curve.key_size in by_size:
        tried.append(by_size[key.curve.key_size])

    def verifies(signature: bytes, message: bytes) -> bool:
        return any(_holds(partial(key.verify, signature, message, ec.ECDSA(each))) for each in tried)

    return verifies


def _rsa(key: rsa.RSAPublicKey) -> _Verify:
    def verifies(signature: bytes, message: bytes) -> bool:
        return _holds(lambda: key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256()))

    return verifies


def _ed25519(key: ed25519.Ed25519PublicKey) -> _Verify:
    # cosign signs with the pre-hashed kind (Ed25519ph); it did with the plain one, and other signers do.
    raw = key.public_bytes_raw()

    def pre_hashed(signature: bytes, message: bytes) -> bool:
        state = crypto_sign_ed25519ph_state()
        crypto_sign_ed25519ph_update(state, message)
        try:
            return crypto_sign_ed25519ph_final_verify(state, signature, raw)
        except BadSignatureError:
            return False

    def verifies(signature: bytes, message: bytes) -> bool:
        if len(signature) != crypto_sign_BYTES:
            return False
        return pre_hashed(signature, message) or _holds(lambda: key.verify(signature, message))

    return verifies


def _holds(verify: Callable[[], None]) -> bool:
    try:
        verify()
    except InvalidSignature:
        return False
    return True
