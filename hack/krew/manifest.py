"""The manifest by which krew installs kubectl-curation, from the archives that are there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import yaml

from hack.krew.archive import NAME

FILE: Final = "curation.yaml"
_ARCHIVE: Final = re.compile(rf"{NAME}-(?P<version>.+)-(?P<os>linux|darwin)-(?P<arch>amd64|arm64)\.tar\.gz")
_SHORT: Final = "Explain and steer curation jobs, decide approvals"
_LONG: Final = """\
See what the jobs of the Curation Operator do and why, steer them, and decide what their modules may call. It talks to
the API server as you, and can do nothing that RBAC does not let you do.
"""


def manifest(version: str, archives: Sequence[Path], url: str) -> str:
    """`url` is where the files of the release are: the archives' names come after it. Raises ValueError."""
    platforms = []
    for path in sorted(archives):
        found = _ARCHIVE.fullmatch(path.name)
        if found is None or found["version"] != version:
            raise ValueError(f"{path.name} is no archive of {NAME} {version}")
        platforms.append(
            {
                "selector": {"matchLabels": {"os": found["os"], "arch": found["arch"]}},
                "uri": f"{url.rstrip('/')}/{path.name}",
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "bin": f"{NAME}/{NAME}",
            }
        )
    if not platforms:
        raise ValueError(f"there is no archive of {NAME} {version}")
    document = {
        "apiVersion": "krew.googlecontainertools.github.com/v1alpha2",
        "kind": "Plugin",
        "metadata": {"name": "curation"},
        "spec": {
            "version": f"v{version}",
            "homepage": url.partition("/releases/")[0],
            "shortDescription": _SHORT,
            "description": _LONG,
            "platforms": platforms,
        },
    }
    text: str = yaml.safe_dump(document, sort_keys=False, width=120)
    return text


def archives_in(folder: Path) -> list[Path]:
    """The archives of a release."""
    return sorted(path for path in folder.iterdir() if _ARCHIVE.fullmatch(path.name))
