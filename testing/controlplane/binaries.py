"""The programs of the control plane that are there already, and whether they will do.

Called by `build`, which says in which order it searches: the folder that KUBEBUILDER_ASSETS names, our own builds and
downloads in the user's cache folder, what `setup-envtest` has fetched.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
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

OLDEST = (1, 32)
"""The oldest Kubernetes that the operator works on (docs/install.md)."""
OLDEST_OF_DEFAULT_OVERLAY = (1, 36)
"""The oldest that manifests/overlays/default works on: what the tests install."""

_SECONDS_TO_ANSWER = 60

Source = Literal["KUBEBUILDER_ASSETS", "cache", "setup-envtest", "release", "build"]


@dataclass(frozen=True)
class Binaries:
    """The programs of one control plane: all in one folder, but for the API server of another release.

    `version` is the API server's, as it says it itself. `controller_manager` is None where there is none (released
    archives for tests do not have it): such a control plane works, but nothing in it collects garbage, ends namespaces
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


def minor_of(version: str) -> tuple[int, int]:
    """`(1, 37)` of `v1.37.2`; (0, 0) of what is no version."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def find(
    environ: Mapping[str, str], module: Path = MODULE, *, controllers: bool = True, oldest: tuple[int, int] = OLDEST
) -> Binaries | None:
    """The programs that KUBEBUILDER_ASSETS names, or our own build of them, or None.

    `controllers` says whether a build counts only with kube-controller-manager. KUBEBUILDER_ASSETS is an order, not a
    hint: if it is set and will not do, this raises ControlPlaneError, rather than quietly test something else than what
    was asked for. It may lack the controllers.
    """
    if assets := environ.get("KUBEBUILDER_ASSETS", ""):
        return _ordered(assets, oldest)
    folder = built_folder(environ, module)
    if missing_in(folder, controllers=controllers):
        return None
    return Binaries(folder, "cache", manager_in(folder), kubernetes_version((module / "go.mod").read_text()))


def _ordered(assets: str, oldest: tuple[int, int]) -> Binaries:
    folder = Path(assets).absolute()
    remedy = "set it to the folder that `setup-envtest use -p path` prints, or unset it"
    if missing := missing_in(folder, controllers=False):
        raise ControlPlaneError(
            f"KUBEBUILDER_ASSETS is {assets}, which has no executable {', '.join(missing)}: {remedy}"
        )
    version = said_version(folder / APISERVER)
    if not version:
        raise ControlPlaneError(
            f"KUBEBUILDER_ASSETS is {assets}, whose {APISERVER} does not say its version (is it for another platform "
            f"than {platform_name()}?): {remedy}"
        )
    if minor_of(version) < oldest:
        wanted = ".".join(map(str, oldest))
        raise ControlPlaneError(
            f"KUBEBUILDER_ASSETS is {assets}, with Kubernetes {version}, and this needs {wanted} or newer: "
            f"set it to the folder that `setup-envtest use {wanted}.x -p path` prints, or unset it"
        )
    return Binaries(folder, "KUBEBUILDER_ASSETS", manager_in(folder), version)


def missing_in(folder: Path, *, controllers: bool) -> list[str]:
    """The programs that a control plane needs and this folder does not have."""
    wanted = (*REQUIRED, CONTROLLER_MANAGER) if controllers else REQUIRED
    return [name for name in wanted if not _executable(folder / name)]


def manager_in(folder: Path) -> Path | None:
    """The controllers in a folder, if they are there."""
    manager = folder / CONTROLLER_MANAGER
    return manager if _executable(manager) else None


def platform_name() -> str:
    """This machine as Go and the released archives name it, such as `linux-amd64`."""
    machine = platform.machine().lower()
    return f"{sys.platform}-{ {'x86_64': 'amd64', 'aarch64': 'arm64'}.get(machine, machine) }"


def setup_envtest(
    environ: Mapping[str, str], wanted: Callable[[tuple[int, int]], bool], why: str, say: Callable[[str], None]
) -> Binaries | None:
    """The newest programs that setup-envtest has fetched and that are `wanted`; `say` gets why others are not.

    `why` says in words what is wanted.
    """
    for folder in _fetched_by_setup_envtest(environ):
        if missing := missing_in(folder, controllers=False):
            say(f"Passed over {folder}: it has no executable {', '.join(missing)}.")
        elif not wanted(minor_of(folder.name)):
            say(f"Passed over {folder}: {why}. Set KUBEBUILDER_ASSETS to use it anyway.")
        elif not (version := said_version(folder / APISERVER)):
            say(f"Passed over {folder}: its {APISERVER} does not say its version.")
        else:
            return Binaries(folder, "setup-envtest", manager_in(folder), version)
    return None


def _fetched_by_setup_envtest(environ: Mapping[str, str]) -> Iterator[Path]:
    home = Path(environ.get("HOME") or Path.home())
    if sys.platform == "darwin":
        store = home / "Library/Application Support/io.kubebuilder.envtest"
    else:
        store = Path(environ.get("XDG_DATA_HOME") or home / ".local/share") / "kubebuilder-envtest"
    ending = f"-{platform_name()}"
    # Folders are named VERSION-OS-ARCHITECTURE.
    folders = {path: path.name.removesuffix(ending) for path in store.glob(f"k8s/*{ending}")}
    known = {
        path: tuple(map(int, name.split("."))) for path, name in folders.items() if re.fullmatch(r"[\d.]+\d", name)
    }
    yield from sorted(known, key=lambda path: known[path], reverse=True)


def of_release(pinned: Binaries, release: str, folder: Path) -> Binaries | None:
    """The pinned programs with the API server of another release, if it is in `folder`."""
    program = folder / APISERVER
    return replace(pinned, version=release, other_apiserver=program) if _executable(program) else None


def said_version(program: Path) -> str:
    """`v1.35.4` of what a Kubernetes program answers to --version; empty if it does not answer."""
    try:
        said = subprocess.run(
            [str(program), "--version"], capture_output=True, text=True, check=False, timeout=_SECONDS_TO_ANSWER
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"v\d+\.\d+\.\d+\S*", said)
    return found[0] if found else ""
