"""What can go wrong with the local control plane, as its callers see it."""

from __future__ import annotations

import subprocess


class ControlPlaneError(Exception):
    """The control plane cannot be built, found, started or reached; the message says why and what to do."""


class KubectlError(subprocess.CalledProcessError):
    """A kubectl call that ended with an error; unlike its base class it shows what kubectl said."""

    def __str__(self) -> str:
        said = (self.stderr or self.stdout or "").strip()
        return f"{super().__str__()}\n{said}" if said else super().__str__()
