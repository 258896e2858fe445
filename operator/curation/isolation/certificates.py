"""A certificate for whoever serves TLS in a child, which has no file of it."""

import ssl

from curation.isolation.memory_file import file_of


def show(context: ssl.SSLContext, pem: bytes) -> str:
    """Show this certificate, PEM with its key, in every handshake from now on; what is wrong, if it cannot be used."""
    try:
        # What is tried first must not spoil what is in use.
        for each in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
            with file_of(pem) as name:
                each.load_cert_chain(name)
    except (OSError, ssl.SSLError, ValueError) as error:
        return str(error)[:300] or type(error).__name__
    return ""
