"""Builds the programs of the control plane from Go modules into the user's cache folder, once per version.

Called by `server` and `__main__` when nothing is there yet. It takes minutes, so it says what it does and how long it
has been at it. Two processes never build at once, and a build that was cut short is never taken for a whole one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from hack.controlplane.binaries import (
    BUILD_FLAGS,
    MODULE,
    VERSION_PACKAGES,
    Binaries,
    built_folder,
    cache_folder,
    find,
    kubernetes_version,
)
from hack.controlplane.errors import ControlPlaneError
from hack.controlplane.golang import find_go
from hack.controlplane.progress import Progress

PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
}
"""Each program and its package, as the `tool` lines of go/go.mod have them, the quickest to fail first."""


def find_or_build(environ: Mapping[str, str] | None = None, out: TextIO | None = None) -> Binaries:
    """The programs of the control plane, built first where necessary; progress goes to `out` (default: stderr).

    Raises ControlPlaneError with the end of the compiler's output when the build fails.
    """
    environ = os.environ if environ is None else environ
    if found := find(environ):
        return found
    progress = Progress(out)
    with _only_one(cache_folder(environ) / "controlplane.lock", progress):
        # Whoever held the lock before us has probably built it.
        if found := find(environ):
            return found
        _build(built_folder(environ), environ, progress)
    found = find(environ)
    assert found, "a finished build is found"
    return Binaries(found.folder, "build", found.controller_manager)


@contextmanager
def _only_one(lock: Path, progress: Progress) -> Iterator[None]:
    lock.parent.mkdir(parents=True, exist_ok=True)
    # The lock file stays: to remove it would let a third process lock another file of the same name.
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step("Waiting for another process that builds the control plane"):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(target: Path, environ: Mapping[str, str], progress: Progress) -> None:
    version = kubernetes_version((MODULE / "go.mod").read_text())
    progress.say(
        f"Building a local control plane ({', '.join(PACKAGES)}) of Kubernetes {version} from Go modules.\n"
        f"This happens once: the programs are kept in {target}.\n"
        "With an empty Go cache it takes about 10 minutes on 2 cores, 5 GB of disk and some downloads; later, seconds."
    )
    with progress.step("Looking for Go"):
        go = find_go(cache_folder(environ))
    scratch = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    try:
        for number, (name, package) in enumerate(PACKAGES.items(), 1):
            _compile(go, name, package, scratch, version, progress, f"[{number}/{len(PACKAGES)}] {name}")
        scratch.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _link_flags(version: str) -> str:
    major, minor = version.removeprefix("v").split(".")[:2]
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    variables = [f"-X {package}.{name}={value}" for package in VERSION_PACKAGES for name, value in values.items()]
    # -s -w: no symbols and no debugging information, a third of the size.
    return " ".join(["-s", "-w", *variables])


def _compile(go: str, name: str, package: str, folder: Path, version: str, progress: Progress, title: str) -> None:
    command = [go, "build", "-v", *BUILD_FLAGS, "-ldflags", _link_flags(version), "-o", str(folder / name), package]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local"}
    last: deque[str] = deque(maxlen=40)
    with (
        progress.step(title) as step,
        subprocess.Popen(command, cwd=MODULE, env=environment, stderr=subprocess.PIPE, text=True) as process,
    ):
        assert process.stderr

        def follow(lines: Iterator[str]) -> None:
            # With -v each line is a package that is being compiled, and a mistake when there is one.
            for count, line in enumerate(lines, 1):
                last.append(line)
                step.detail = f"{count} packages"

        reader = threading.Thread(target=follow, args=(iter(process.stderr),), daemon=True)
        reader.start()
        try:
            process.wait()
        except BaseException:
            process.terminate()
            raise
        finally:
            reader.join()
    if process.returncode:
        raise ControlPlaneError(
            f"`go build {package}` failed ({process.returncode}); the end of what it said:\n{''.join(last).rstrip()}\n"
            "Check the disk space and the Go module proxy (`go env GOPROXY`), or set KUBEBUILDER_ASSETS."
        )
