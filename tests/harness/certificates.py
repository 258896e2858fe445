"""Certificates of private authorities, for servers that tests start."""

import datetime
import ssl
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from curation.reconciler.process.certificates import unsigned


def self_signed(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate for a name or an IPv4 address that is its own authority: its PEM file, and a server's context."""
    key = ec.generate_private_key(ec.SECP256R1())
    # With a number: of two authorities of one name only the first one in a bundle is found.
    number = x509.NameAttribute(NameOID.SERIAL_NUMBER, str(x509.random_serial_number()))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name), number])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        unsigned(subject, subject, key.public_key(), now, datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([_general(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    return pem, context


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(IPv4Address(name))
    except ValueError:
        return x509.DNSName(name)
