"""A certificate for whoever serves TLS in a child, which has no file of it."""

import os
import ssl
import tempfile


def show(context: ssl.SSLContext, pem: bytes) -> str:
    """Show this certificate, PEM with its key, in every handshake from now on; what is wrong, if it cannot be used."""
    try:
        # OpenSSL reads files only. What is tried first must not spoil what is in use.
        for each in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
            if hasattr(os, "memfd_create"):
                descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
                with os.fdopen(descriptor, "wb", buffering=0) as file:
                    file.write(pem)
                    each.load_cert_chain(f"/proc/self/fd/{descriptor}")
            else:
                with tempfile.NamedTemporaryFile() as file_:
                    file_.write(pem)
                    file_.flush()
                    each.load_cert_chain(file_.name)
    except (OSError, ssl.SSLError, ValueError) as error:
        return str(error)[:300] or type(error).__name__
    return ""
