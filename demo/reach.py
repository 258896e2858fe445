"""What the demo needs to know of a cluster: a local control plane's `Connection` has it, and so has `cluster`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Reach(Protocol):
    """How to reach a cluster as any user."""

    @property
    def binaries(self) -> Path:
        """The folder of kubectl."""
        ...

    def kubeconfig(self, user: str = ..., groups: Sequence[str] = ...) -> Path:
        """A kubeconfig of this user, by default of an administrator."""
        ...

    def environment(self, user: str = ..., groups: Sequence[str] = ...) -> dict[str, str]:
        """The environment of a program that is to use the cluster as this user."""
        ...
