"""A certificate of the operator's own, made and renewed by the leader in a Secret, and served by every replica.

The webhook's is one, which API servers trust, and that of the door of guest pods is another.

The order keeps every API server trusting every replica at every moment: the new authority is trusted beside the old one
first, then every replica shows the new certificate, and the old authority goes last. Each step is written before the
next one begins, so that another leader goes on where this one stopped. An authority signs one certificate, and its key
is kept by nobody.
"""

import base64
import binascii
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from curation.reconciler.process.certificates import common_name, unsigned, usage

log = logging.getLogger(__name__)

VALID: Final = timedelta(days=90)
RENEW_BEFORE: Final = timedelta(days=30)
TRUSTED_FOR: Final = timedelta(minutes=2)
"""How long the next authority is trusted before its certificate is shown: until every API server has seen it."""
SHOWN_FOR: Final = timedelta(minutes=10)
"""How long the next certificate is shown before the old authority goes: until every replica shows it."""
_TIME: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its key and the authority that signed it: PEM."""

    certificate: bytes
    key: bytes
    authority: bytes

    def serves(self, names: tuple[str, ...], now: datetime) -> bool:
        """Whether it can be shown now, for these names."""
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate)
            authority = x509.load_pem_x509_certificate(self.authority)
            key = serialization.load_pem_private_key(self.key, password=None)
            certificate.verify_directly_issued_by(authority)
            extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            named = set(extension.value.get_values_for_type(x509.DNSName))
        except Exception:
            return False  # whatever is wrong with it, another one is made
        valid = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc
        return valid and key.public_key() == certificate.public_key() and set(names) <= named

    def due(self, now: datetime) -> bool:
        """Whether it ends soon."""
        return now >= x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc - RENEW_BEFORE


@dataclass(frozen=True, slots=True)
class Kept:
    """What the Secret holds."""

    shown: Pair | None = None
    coming: Pair | None = None
    """Whose authority is trusted already; it is not shown yet."""
    going: bytes = b""
    """The authority of the certificate before, which is still trusted."""
    since: datetime | None = None
    """When the present step began."""

    @property
    def bundle(self) -> bytes:
        """The authorities that the API server is to trust."""
        pairs = (self.shown, self.coming)
        return b"".join(_line(each.authority) for each in pairs if each is not None) + _line(self.going)

    @property
    def pem(self) -> bytes:
        """What the listener shows."""
        return b"" if self.shown is None else _line(self.shown.key) + self.shown.certificate

    @classmethod
    def read(cls, data: dict[str, str]) -> "Kept":
        """Of a Secret's data; what is damaged is as if it were not there."""

        def value(name: str) -> bytes:
            try:
                return base64.b64decode(data.get(name) or "", validate=True)
            except (binascii.Error, ValueError, TypeError):
                return b""

        def pair(prefix: str) -> Pair | None:
            found = Pair(value(f"{prefix}tls.crt"), value(f"{prefix}tls.key"), value(f"{prefix}ca.crt"))
            return found if found.certificate and found.key and found.authority else None

        try:
            since = datetime.strptime(value("since").decode(), _TIME).replace(tzinfo=UTC)
        except ValueError:
            since = None
        return cls(pair(""), pair("next."), value("old.ca.crt"), since)

    def data(self) -> dict[str, str | None]:
        """For a merge patch of the Secret's data: what is not there is removed."""
        found: dict[str, bytes] = {}
        for prefix, pair in (("", self.shown), ("next.", self.coming)):
            found[f"{prefix}tls.crt"] = pair.certificate if pair is not None else b""
            found[f"{prefix}tls.key"] = pair.key if pair is not None else b""
            found[f"{prefix}ca.crt"] = pair.authority if pair is not None else b""
        found["old.ca.crt"] = self.going
        found["since"] = self.since.strftime(_TIME).encode() if self.since is not None else b""
        return {name: base64.b64encode(value).decode() if value else None for name, value in found.items()}


def following(
    kept: Kept, names: tuple[str, ...], trusted: bool, now: datetime, trusted_for: timedelta = TRUSTED_FOR
) -> Kept:
    """What the Secret is to hold next; the same if nothing is to be done.

    `trusted` says that whoever asks (of the webhook, the API server's configuration) has the bundle of what the Secret
    holds now; `trusted_for` is how long a next authority is, before its certificate is shown.
    """
    shown, coming = kept.shown, kept.coming
    if shown is None or not shown.serves(names, now):
        # Nothing can be kept up: nobody trusts what is shown, or nothing is.
        return Kept(make(names, now), since=now)
    waited = now - (kept.since or now)
    if kept.since is None or waited < timedelta(0):
        return replace(kept, since=now)  # a clock was set back: wait anew
    if coming is not None:
        if not coming.serves(names, now):
            return replace(kept, coming=None, since=now)
        if trusted and waited >= trusted_for:
            return Kept(coming, None, shown.authority, now)
        return kept
    if kept.going:
        return replace(kept, going=b"", since=now) if trusted and waited >= SHOWN_FOR else kept
    if shown.due(now):
        return replace(kept, coming=make(names, now), since=now)
    return kept


def make(names: tuple[str, ...], now: datetime) -> Pair:
    """A new authority, and the one certificate that it signs."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    # A name of its own each: two authorities of one name in a bundle would be taken for each other.
    issuer = common_name(f"curation-operator {x509.random_serial_number():x}"[:64])
    authority = (
        unsigned(issuer, issuer, authority_key.public_key(), now, VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        unsigned(common_name(names[0][:64]), issuer, key.public_key(), now, VALID)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    encoded = (each.public_bytes(serialization.Encoding.PEM) for each in (certificate, authority))
    return Pair(next(encoded), private, next(encoded))


def _line(pem: bytes) -> bytes:
    return pem if not pem or pem.endswith(b"\n") else pem + b"\n"
