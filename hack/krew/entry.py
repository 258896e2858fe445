"""Where the program in the archive begins. What it starts (a login program, a browser) is to find its own libraries."""

import os
import ssl
from pathlib import Path

# Trap: PyInstaller puts its own folder there, for every child too.
for _name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"):
    _before = os.environ.pop(f"{_name}_ORIG", None)
    os.environ.pop(_name, None)
    if _before:
        os.environ[_name] = _before

# The OpenSSL in the archive looks for authorities where the system that it was made on has them.
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_known = ssl.get_default_verify_paths()
if "SSL_CERT_FILE" not in os.environ and not _known.cafile and not _known.capath:
    for _bundle in _BUNDLES:
        if Path(_bundle).is_file():
            os.environ["SSL_CERT_FILE"] = _bundle
            break

from curation.cli.plugin import main  # noqa: E402 - the environment first

main()
