"""The TLS context of the connection to the API server: its authorities, and our certificate."""

import os
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from curation.cluster.kubeconfig_entries import ConfigurationError


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


@contextmanager
def _readable(pem: str | bytes) -> Iterator[str]:
    """A path to read it by. The ssl module takes files only; a private key is never written to a disk where the
    system has files in memory."""
    if isinstance(pem, str):
        yield pem
    elif hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pem")
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(pem)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(pem)
            file.flush()
            yield file.name
