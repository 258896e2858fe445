"""The TLS context of the connection to the API server: its authorities, and our certificate."""

import ssl
from contextlib import AbstractContextManager, nullcontext

from curation.cluster.kubeconfig_entries import ConfigurationError
from curation.isolation.memory_file import file_of


def make_context(*, ca_file: str = "", ca_data: bytes = b"", insecure: bool = False) -> ssl.SSLContext:
    """A context that trusts these authorities (PEM), the system's where none is given. Raises `ConfigurationError`."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None, cadata=ca_data.decode() or None)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise ConfigurationError(f"certificate-authority {ca_file or 'data'}: {error}") from None
    # kubectl takes certificates that RFC 5280 does not, such as authorities without a key identifier.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def load_certificate(
    context: ssl.SSLContext, *, certificate: str | bytes, key: str | bytes, what: str = "client-certificate"
) -> None:
    """Show this certificate from now on: each a path, or PEM. Raises `ConfigurationError`."""
    with _readable(certificate) as certificate_file, _readable(key) as key_file:
        try:
            # A key that needs a password is an error, not a question on the terminal.
            context.load_cert_chain(certificate_file, key_file, password="")
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"{what} or its key: {error}") from None


def _readable(pem: str | bytes) -> AbstractContextManager[str]:
    """A path to read it by."""
    return nullcontext(pem) if isinstance(pem, str) else file_of(pem)
