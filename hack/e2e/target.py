"""The clusters that the end-to-end tests can run on. Called by `hack.e2e.__main__` only.

Each `Target` is a context manager: entered, its cluster runs and has the image. `command` runs a program so that it
reaches the cluster.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from hack.e2e.errors import TargetError

ROOT: Final = Path(__file__).parents[2]

KIT_COMMANDS: Final = ("build", "image-base", "image-build", "up", "exec", "down")
"""The programs of a node kit's folder. `image-build DIR TAG OPTION...` makes `localhost/TAG` of DIR's Dockerfile, with
options of `docker build`, and loads it into the node; `exec COMMAND...` runs a program of this machine with kubectl on
its PATH and KUBECONFIG set."""

KIT_BUILD: Final = ("--build-arg", "BASE=python:3.11-slim", "--build-arg", "ALLOW_TAG=1")
"""A kit's base image is its own: no registry knows a digest of it."""

KIT_TAG: Final = "curation-operator:e2e"
KIT_SESSIONS_TAG: Final = "curation-sessions:e2e"
"""Of the image of the sample session service."""


class Target(Protocol):
    """A cluster for the tests."""

    image: str
    """The operator's image, by the name that the cluster's nodes know."""

    sessions: str
    """That of the sample session service; empty where there is none."""

    def command(self, *arguments: str) -> Sequence[str]:
        """The command line that runs a program of this machine against the cluster."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class NodeKit:
    """A node that the kit in `folder` builds, starts and stops here; `keep` leaves it up."""

    image = f"localhost/{KIT_TAG}"
    sessions = f"localhost/{KIT_SESSIONS_TAG}"

    def __init__(self, folder: Path, *, keep: bool) -> None:
        self._folder = folder.resolve()
        self._keep = keep
        if missing := [name for name in KIT_COMMANDS if not os.access(self._folder / name, os.X_OK)]:
            raise TargetError(
                f"{folder} is not the folder of a node kit: it has no program {', '.join(missing)}; "
                f"NODE needs {', '.join(KIT_COMMANDS)} (see docs/install.md)"
            )

    def command(self, *arguments: str) -> Sequence[str]:
        """See `Target`."""
        return [str(self._folder / "exec"), *arguments]

    def __enter__(self) -> Self:
        try:
            self._run("build")
            self._run("image-base")
            self._run("image-build", str(ROOT), KIT_TAG, *KIT_BUILD)
            self._run("image-build", str(ROOT), KIT_SESSIONS_TAG, "--target", "sessions", *KIT_BUILD)
            self._run("up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keep:
            print(
                f"the node is left up; {self._folder / 'exec'} kubectl ... reaches it, {self._folder / 'down'} ends it"
            )
        else:
            self._run("down")

    def _run(self, *arguments: str) -> None:
        """Run one of the kit's programs, which show their progress themselves."""
        print(f"== node kit: {' '.join(arguments)}", flush=True)
        done = subprocess.run([str(self._folder / arguments[0]), *arguments[1:]], check=False)
        if done.returncode:
            raise TargetError(f"the node kit's {arguments[0]} ended with {done.returncode}; see what it said above")


class CurrentCluster:
    """The cluster of the current kubeconfig, whose nodes can have `image`."""

    def __init__(self, image: str, sessions: str = "") -> None:
        self.image = image
        self.sessions = sessions
        if "@" not in image and ":" not in image.rpartition("/")[2]:
            raise TargetError(f"IMAGE={image} has no tag and no digest; give NAME:TAG or NAME@DIGEST")

    def command(self, *arguments: str) -> Sequence[str]:
        """See `Target`."""
        return arguments

    def __enter__(self) -> Self:
        if shutil.which("kubectl") is None:
            raise TargetError("kubectl is not on the PATH; install it, or give NODE=<folder of a node kit>")
        context = self._kubectl("config", "current-context")
        print(f"== the current cluster: context {context}, image {self.image}", flush=True)
        self._kubectl("get", "--raw", "/readyz")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def _kubectl(self, *arguments: str) -> str:
        done = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise TargetError(
                f"kubectl {' '.join(arguments)} failed: {done.stderr.strip()}; set KUBECONFIG to a cluster that may be "
                "used for tests"
            )
        return done.stdout.strip()
