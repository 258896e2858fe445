"""Where the programs of the control plane come from.

Called by `server` and by `make controlplane`. In this order: the folder named by KUBEBUILDER_ASSETS (what
`setup-envtest` prints), a build in the user's cache folder, a new build from Go modules (`build`).
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from testing.controlplane.errors import ControlPlaneError

MODULE = Path(__file__).parent / "go"
"""The Go module whose `tool` lines name the programs, and whose `go.sum` pins every byte that they are built from."""

APISERVER = "kube-apiserver"
REQUIRED = ("etcd", APISERVER, "kubectl")
CONTROLLER_MANAGER = "kube-controller-manager"

BUILD_FLAGS = ("-mod=readonly", "-buildvcs=false", "-trimpath")
VERSION_PACKAGES = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
"""Where a Kubernetes program keeps its version; unset, a server says v0.0.0-master, which clients misjudge."""

_SECONDS_TO_ANSWER = 60

Source = Literal["KUBEBUILDER_ASSETS", "cache", "build"]


@dataclass(frozen=True)
class Binaries:
    """The programs of one control plane: all in one folder, but for the API server of another release.

    `version` is the API server's, as it says it itself. `controller_manager` is None where KUBEBUILDER_ASSETS has none
    (`setup-envtest` does not fetch it): such a control plane works, but nothing in it collects garbage, ends namespaces
    or aggregates roles.
    """

    folder: Path
    source: Source
    controller_manager: Path | None
    version: str
    other_apiserver: Path | None = None

    @property
    def etcd(self) -> Path:
        """The store behind the API server."""
        return self.folder / "etcd"

    @property
    def apiserver(self) -> Path:
        """The API server."""
        return self.other_apiserver or self.folder / APISERVER

    @property
    def kubectl(self) -> Path:
        """The client."""
        return self.folder / "kubectl"


def kubernetes_version(go_mod: str) -> str:
    """The Kubernetes version that the text of a go.mod requires, such as `v1.37.2`."""
    found = re.search(r"^\s*(?:require\s+)?k8s\.io/kubernetes\s+(v\d+\.\d+\.\d+\S*)", go_mod, re.MULTILINE)
    if not found:
        raise ControlPlaneError(f"{MODULE / 'go.mod'} requires no k8s.io/kubernetes: restore the file from Git")
    return found[1]


def cache_key(go_mod: bytes, go_sum: bytes) -> str:
    """The name of a build in the cache folder: its version for people, a digest of all that decides its content."""
    digest = hashlib.sha256()
    for content in (go_mod, go_sum, repr((BUILD_FLAGS, VERSION_PACKAGES)).encode()):
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return f"controlplane-{kubernetes_version(go_mod.decode())}-{digest.hexdigest()[:12]}"


def cache_folder(environ: Mapping[str, str]) -> Path:
    """The user's cache folder of this project, by the XDG base directory specification: a relative value is ignored."""
    base = Path(environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        base = Path(environ.get("HOME") or Path.home()) / ".cache"
    return base / "curation-operator"


def built_folder(environ: Mapping[str, str], module: Path = MODULE) -> Path:
    """Where the build of `module` is kept, whether or not it is there yet."""
    key = cache_key((module / "go.mod").read_bytes(), (module / "go.sum").read_bytes())
    return cache_folder(environ) / key


def _executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def find(environ: Mapping[str, str], module: Path = MODULE) -> Binaries | None:
    """The programs that are already there, or None when they have to be built.

    KUBEBUILDER_ASSETS is an order, not a hint: if it is set and a program is missing there, this raises
    ControlPlaneError, rather than quietly test something else than what was asked for.
    """
    assets = environ.get("KUBEBUILDER_ASSETS", "")
    if assets:
        folder = Path(assets).absolute()
        missing = [name for name in REQUIRED if not _executable(folder / name)]
        if missing:
            raise ControlPlaneError(
                f"KUBEBUILDER_ASSETS is {assets}, which has no executable {', '.join(missing)}: "
                "set it to the folder that `setup-envtest use -p path` prints, or unset it to build them"
            )
        manager = folder / CONTROLLER_MANAGER
        version = _said_version(folder / APISERVER)
        return Binaries(folder, "KUBEBUILDER_ASSETS", manager if _executable(manager) else None, version)
    folder = built_folder(environ, module)
    if all(_executable(folder / name) for name in (*REQUIRED, CONTROLLER_MANAGER)):
        return Binaries(
            folder, "cache", folder / CONTROLLER_MANAGER, kubernetes_version((module / "go.mod").read_text())
        )
    return None


def of_release(pinned: Binaries, release: str, folder: Path) -> Binaries | None:
    """The pinned programs with the API server of another release, if it is in `folder`."""
    program = folder / APISERVER
    return replace(pinned, version=release, other_apiserver=program) if _executable(program) else None


def _said_version(program: Path) -> str:
    """`v1.35.4` of what a Kubernetes program answers to --version; empty if it does not answer."""
    try:
        said = subprocess.run(
            [str(program), "--version"], capture_output=True, text=True, check=False, timeout=_SECONDS_TO_ANSWER
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"v\d+\.\d+\.\d+\S*", said)
    return found[0] if found else ""
