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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from testing.controlplane import releases
from testing.controlplane.binaries import (
    APISERVER,
    BUILD_FLAGS,
    MODULE,
    VERSION_PACKAGES,
    Binaries,
    built_folder,
    cache_folder,
    find,
    kubernetes_version,
    of_release,
)
from testing.controlplane.errors import ControlPlaneError
from testing.controlplane.golang import find_go
from testing.controlplane.progress import Progress

PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
}
"""Each program and its package, as the `tool` lines of go/go.mod have them, the quickest to fail first."""


def find_or_build(
    environ: Mapping[str, str] | None = None, out: TextIO | None = None, *, release: str | None = None
) -> Binaries:
    """The programs of the control plane, built first where necessary; progress goes to `out` (default: stderr).

    `release` (such as 1.35.4) asks for the API server of that Kubernetes release, beside the other programs of the
    pinned one. Raises ControlPlaneError with the end of the compiler's output when the build fails.
    """
    environ = os.environ if environ is None else environ
    pinned = _pinned(environ, out)
    if release is None or (wanted := releases.parse(release)) == pinned.version:
        return pinned
    if pinned.source == "KUBEBUILDER_ASSETS":
        raise ControlPlaneError(
            f"KUBEBUILDER_ASSETS has an API server of {pinned.version}, not {wanted}: "
            f"set it to what `setup-envtest use {wanted.removeprefix('v')} -p path` prints, or unset it to build one"
        )
    return _of_release(pinned, wanted, environ, out)


def _of_release(pinned: Binaries, release: str, environ: Mapping[str, str], out: TextIO | None) -> Binaries:
    folder = releases.folder_of(release, environ)
    if found := of_release(pinned, release, folder):
        return found
    progress = Progress(out)
    with only_one(cache_folder(environ) / "controlplane.lock", "the control plane", progress):
        if found := of_release(pinned, release, folder):
            return found
        _build_release(release, folder, environ, progress)
    found = of_release(pinned, release, folder)
    assert found, "a finished build is found"
    return found


def _pinned(environ: Mapping[str, str], out: TextIO | None) -> Binaries:
    if found := find(environ):
        return found
    progress = Progress(out)
    with only_one(cache_folder(environ) / "controlplane.lock", "the control plane", progress):
        # Whoever held the lock before us has probably built it.
        if found := find(environ):
            return found
        _build(built_folder(environ), environ, progress)
    found = find(environ)
    assert found, "a finished build is found"
    return replace(found, source="build")


@contextmanager
def only_one(lock: Path, what: str, progress: Progress) -> Iterator[None]:
    """Hold the lock file for the block; while another process holds it, say that it builds `what`."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    # The lock file stays: to remove it would let a third process lock another file of the same name.
    with lock.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step(f"Waiting for another process that builds {what}"):
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
    with whole_or_nothing(target) as scratch:
        for number, (name, package) in enumerate(PACKAGES.items(), 1):
            task = _Task(go, MODULE, BUILD_FLAGS, version, scratch / name, package)
            _compile(task, progress, f"[{number}/{len(PACKAGES)}] {name}")


def _build_release(release: str, target: Path, environ: Mapping[str, str], progress: Progress) -> None:
    progress.say(
        f"Building {APISERVER} of Kubernetes {release} from Go modules.\n"
        f"This happens once: it is kept in {target}.\n"
        "With an empty Go cache it takes 4 to 12 minutes on 2 cores, and some downloads."
    )
    with progress.step("Looking for Go"):
        go = find_go(cache_folder(environ))
    with whole_or_nothing(target) as scratch:
        with progress.step(f"Fetching Kubernetes {release}"):
            releases.write_module(go, release, scratch, _go_environment())
        task = _Task(go, scratch, releases.BUILD_FLAGS, release, scratch / APISERVER, PACKAGES[APISERVER])
        _compile(task, progress, APISERVER)


@contextmanager
def whole_or_nothing(target: Path) -> Iterator[Path]:
    """A folder that takes the name `target` when the block ends well, and goes when it does not."""
    scratch = Path(tempfile.mkdtemp(prefix=".building-", dir=target.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@dataclass(frozen=True)
class _Task:
    """One program to compile."""

    go: str
    module: Path
    flags: tuple[str, ...]
    version: str
    output: Path
    package: str

    def command(self) -> list[str]:
        """What compiles it."""
        options = [*self.flags, "-ldflags", _link_flags(self.version), "-o", str(self.output)]
        return [self.go, "build", "-v", *options, self.package]


def _go_environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local"}


def _link_flags(version: str) -> str:
    major, minor = version.removeprefix("v").split(".")[:2]
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    variables = [f"-X {package}.{name}={value}" for package in VERSION_PACKAGES for name, value in values.items()]
    # -s -w: no symbols and no debugging information, a third of the size.
    return " ".join(["-s", "-w", *variables])


def _compile(task: _Task, progress: Progress, title: str) -> None:
    last: deque[str] = deque(maxlen=40)
    with (
        progress.step(title) as step,
        subprocess.Popen(
            task.command(), cwd=task.module, env=_go_environment(), stderr=subprocess.PIPE, text=True
        ) as process,
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
            f"`go build {task.package}` failed ({process.returncode}); the end of what it said:\n"
            f"{''.join(last).rstrip()}\n"
            "Check the disk space and the Go module proxy (`go env GOPROXY`), or set KUBEBUILDER_ASSETS."
        )
