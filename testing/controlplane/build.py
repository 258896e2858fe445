"""Finds the programs of the control plane, fetches them, or builds them from Go modules into the user's cache folder.

Called by `server` and `__main__`. In this order: the folder that KUBEBUILDER_ASSETS names, an earlier build, an earlier
fetch, what setup-envtest has fetched, a released archive (`archive`), a build. A build takes minutes, so it says what
it does and how long it has been at it. Two processes never build at once, and a build that was cut short is never
taken for a whole one.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from testing.controlplane import archive, releases
from testing.controlplane.binaries import (
    APISERVER,
    BUILD_FLAGS,
    CONTROLLER_MANAGER,
    MODULE,
    OLDEST,
    VERSION_PACKAGES,
    Binaries,
    built_folder,
    cache_folder,
    find,
    kubernetes_version,
    manager_in,
    minor_of,
    missing_in,
    of_release,
    setup_envtest,
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
    environ: Mapping[str, str] | None = None,
    out: TextIO | None = None,
    *,
    release: str | None = None,
    controllers: bool = True,
    oldest: tuple[int, int] = OLDEST,
) -> Binaries:
    """The programs of the control plane, fetched or built first where necessary; progress goes to `out` (stderr).

    `release` (such as 1.35.4) asks for the API server of that Kubernetes release, beside the other programs of the
    pinned one. Without `controllers` any version of at least `oldest` will do, and kube-controller-manager is not
    built. With them there is a build, since no released archive has them, and all programs are of the pinned minor
    version unless KUBEBUILDER_ASSETS says otherwise. Raises ControlPlaneError with the end of the compiler's output
    when the build fails.
    """
    environ = os.environ if environ is None else environ
    pinned = _pinned(environ, out, controllers=controllers or release is not None, oldest=oldest)
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


def _pinned(environ: Mapping[str, str], out: TextIO | None, *, controllers: bool, oldest: tuple[int, int]) -> Binaries:
    progress = Progress(out)
    if found := _there(environ, progress, controllers=controllers, oldest=oldest):
        return found
    with only_one(cache_folder(environ) / "controlplane.lock", "the control plane", progress):
        # Whoever held the lock before us has probably built it.
        if found := _there(environ, Progress(out, quiet=True), controllers=controllers, oldest=oldest):
            return found
        if not controllers:
            try:
                archive.fetch(environ, progress)
            except archive.NotFetched as why:
                progress.say(f"No released programs: {why}.")
            else:
                found = archive.find(environ)
                assert found, "what was fetched is found"
                return replace(found, source="release")
        given = _of_setup_envtest(environ, Progress(out, quiet=True), controllers=controllers, oldest=oldest)
        _build(built_folder(environ), [CONTROLLER_MANAGER] if given else _wanted(controllers), environ, progress)
    found = _there(environ, Progress(out, quiet=True), controllers=controllers, oldest=oldest)
    assert found, "a finished build is found"
    return replace(found, source=found.source if given else "build")


def _there(
    environ: Mapping[str, str], progress: Progress, *, controllers: bool, oldest: tuple[int, int]
) -> Binaries | None:
    """What needs neither a network nor a compiler."""
    if found := find(environ, controllers=controllers, oldest=oldest):
        return found
    if not controllers and (found := archive.find(environ)) and minor_of(found.version) >= oldest:
        return found
    found = _of_setup_envtest(environ, progress, controllers=controllers, oldest=oldest)
    return None if found and controllers and found.controller_manager is None else found


def _of_setup_envtest(
    environ: Mapping[str, str], progress: Progress, *, controllers: bool, oldest: tuple[int, int]
) -> Binaries | None:
    """What setup-envtest has fetched, with the controllers of our own build beside it if that has them."""
    pinned = minor_of(kubernetes_version((MODULE / "go.mod").read_text()))
    if not controllers:
        why = f"it is older than Kubernetes {oldest[0]}.{oldest[1]}"
        return setup_envtest(environ, lambda version: version >= oldest, why, progress.say)
    why = f"the tests are for Kubernetes {pinned[0]}.{pinned[1]}"
    found = setup_envtest(environ, lambda version: version == pinned, why, progress.say)
    if found and found.controller_manager is None:
        return replace(found, controller_manager=manager_in(built_folder(environ)))
    return found


def _wanted(controllers: bool) -> list[str]:
    return [name for name in PACKAGES if controllers or name != CONTROLLER_MANAGER]


@contextmanager
def only_one(lock: Path, what: str, progress: Progress) -> Iterator[None]:
    """Hold the lock file for the block; while another process holds it, say that it builds `what`.

    Raises ControlPlaneError when the cache folder, where the lock is, cannot be written.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        # The lock file stays: to remove it would let a third process lock another file of the same name.
        handle = lock.open("w")
    except OSError as error:
        raise ControlPlaneError(
            f"the cache folder {lock.parent} cannot be written ({error.strerror}): set XDG_CACHE_HOME to one that can"
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress.step(f"Waiting for another process that builds {what}"):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(target: Path, names: Sequence[str], environ: Mapping[str, str], progress: Progress) -> None:
    version = kubernetes_version((MODULE / "go.mod").read_text())
    names = [name for name in names if name in missing_in(target, controllers=True)]
    progress.say(
        f"Building {', '.join(names)} of Kubernetes {version} from Go modules.\n"
        f"This happens once: the programs are kept in {target}.\n"
        "With an empty Go cache it takes some 15 minutes of processor time, 5 GB of disk and some downloads."
    )
    with progress.step("Looking for Go"):
        go = find_go(cache_folder(environ))
    with whole_or_nothing(target, add=True) as scratch:
        _compile(_Task(go, MODULE, BUILD_FLAGS, version, scratch, names), progress, ", ".join(names))


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
        _compile(_Task(go, scratch, releases.BUILD_FLAGS, release, scratch, [APISERVER]), progress, APISERVER)


@contextmanager
def whole_or_nothing(target: Path, *, add: bool = False) -> Iterator[Path]:
    """A folder that takes the name `target` when the block ends well, and goes when it does not.

    With `add`, a target that is there keeps what it has, and each file of the new folder is moved into it. The caller
    holds the lock of this target: what a killed build of it has left goes first.
    """
    prefix = f".building-{target.name}-"
    for left in target.parent.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        if add and target.is_dir():
            for made in scratch.iterdir():
                made.replace(target / made.name)
            return
        shutil.rmtree(target, ignore_errors=True)
        scratch.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@dataclass(frozen=True)
class _Task:
    """Programs to compile, all by one command: one links while another compiles."""

    go: str
    module: Path
    flags: tuple[str, ...]
    version: str
    folder: Path
    names: Sequence[str]

    @property
    def packages(self) -> list[str]:
        """What Go calls them."""
        return [PACKAGES[name] for name in self.names]

    def command(self) -> list[str]:
        """What compiles them."""
        options = [*self.flags, "-ldflags", _link_flags(self.version), "-o", f"{self.folder}/"]
        return [self.go, "build", "-v", *options, *self.packages]

    def name_programs(self) -> None:
        """Give each program its own name where Go has named it after its package's folder."""
        for name in self.names:
            # A last part such as v3 is a version, and no name.
            made = re.sub(r"/v\d+$", "", PACKAGES[name]).rpartition("/")[2]
            (self.folder / made).rename(self.folder / name)


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
            f"`go build {' '.join(task.packages)}` failed ({process.returncode}); the end of what it said:\n"
            f"{''.join(last).rstrip()}\n"
            "Check the disk space and the Go module proxy (`go env GOPROXY`), or set KUBEBUILDER_ASSETS."
        )
    task.name_programs()
