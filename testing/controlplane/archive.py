"""Fetches the released programs that envtest-archives.txt pins, so that nobody has to build them.

Called by `build`, which goes on with a build when this raises NotFetched. Nothing of an archive is read before its
checksum is right, whatever the server and the way to it.
"""

from __future__ import annotations

import hashlib
import re
import select
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from testing.controlplane import download
from testing.controlplane.binaries import (
    APISERVER,
    REQUIRED,
    Binaries,
    cache_folder,
    missing_in,
    platform_name,
    said_version,
)
from testing.controlplane.progress import Progress, Step

PINS = Path(__file__).parent / "envtest-archives.txt"

SITE = "ENVTEST_RELEASES_URL"
"""The environment variable with the address of a mirror; `off` fetches nothing."""
_GITHUB = "https://github.com/kubernetes-sigs/controller-tools/releases/download"

_MOST_BYTES = 512 << 20
_SCRATCH = ".fetching-"


class NotFetched(Exception):
    """There are no released programs to be had; the message says why."""


@dataclass(frozen=True)
class Patience:
    """How long a download may take, in seconds, before a build is the better way."""

    silent: float = 20.0
    """Without a byte, from the start on: a network without a way out is noticed within it."""
    whole: float = 180.0
    """In all: a build takes longer than that."""


PATIENCE = Patience()


@dataclass(frozen=True)
class Pin:
    """An archive of this platform."""

    name: str
    sha512: str

    @property
    def version(self) -> str:
        """`v1.36.2`."""
        found = re.match(r"envtest-(v\d+\.\d+\.\d+)-", self.name)
        assert found, f"{PINS} names {self.name}, which has no version"
        return found[1]


def pin(platform: str) -> Pin | None:
    """The archive for a platform such as `linux-amd64`, if there is one."""
    pattern = rf"envtest-v[\d.]+-{re.escape(platform)}\.tar\.gz"
    lines = (line.split() for line in PINS.read_text().splitlines() if line and not line.startswith("#"))
    found = [Pin(name, digest) for digest, name in lines if re.fullmatch(pattern, name)]
    return found[0] if found else None


def folder_of(wanted: Pin, environ: Mapping[str, str]) -> Path:
    """Where its programs are kept, whether or not they are there yet."""
    return cache_folder(environ) / f"envtest-{wanted.version}-{wanted.sha512[:12]}"


def find(environ: Mapping[str, str]) -> Binaries | None:
    """The programs of an earlier fetch."""
    wanted = pin(platform_name())
    if wanted is None:
        return None
    folder = folder_of(wanted, environ)
    return None if missing_in(folder, controllers=False) else Binaries(folder, "cache", None, wanted.version)


def fetch(environ: Mapping[str, str], progress: Progress) -> None:
    """Fetch the programs into the cache folder, whose lock the caller holds. Raises NotFetched."""
    site = environ.get(SITE) or _GITHUB
    if site == "off":
        raise NotFetched(f"{SITE} is off")
    wanted = pin(platform_name())
    if wanted is None:
        raise NotFetched(f"no released archive is known for {platform_name()}")
    target = folder_of(wanted, environ)
    url = f"{site.rstrip('/')}/envtest-{wanted.version}/{wanted.name}"
    progress.say(f"Fetching {', '.join(REQUIRED)} of Kubernetes {wanted.version} (once): {url}")
    # What a fetch has left that was killed: the caller holds the lock, so nobody fetches now.
    for left in target.parent.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=target.parent) as scratch:
        archive = Path(scratch) / wanted.name
        programs = Path(scratch) / "programs"
        with progress.step(wanted.name) as step:
            _download(url, archive, step, PATIENCE)
            _check(archive, wanted)
            _unpack(archive, programs)
        said = said_version(programs / APISERVER)
        if said != wanted.version:
            raise NotFetched(f"{APISERVER} of {url} does not run here: it said {said!r}, not {wanted.version}")
        shutil.rmtree(target, ignore_errors=True)
        programs.rename(target)


def _download(url: str, target: Path, step: Step, patience: Patience) -> None:
    deadline = time.monotonic() + patience.whole
    code, why = _try(url, target, step, patience, deadline)
    if code == download.CUT:
        step.detail = "cut; once more"
        code, why = _try(url, target, step, patience, deadline)
    if code:
        raise NotFetched(why)


def _try(url: str, target: Path, step: Step, patience: Patience, deadline: float) -> tuple[int, str]:
    """Exit code of the downloading program and the last thing it said."""
    command = [sys.executable, "-I", download.__file__, url, str(target), str(_MOST_BYTES)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout
        assert child.stderr
        try:
            last_output = time.monotonic()
            while True:
                now = time.monotonic()
                if now > deadline:
                    raise NotFetched(f"{url} took longer than {patience.whole:.0f} s")
                if now > last_output + patience.silent:
                    raise NotFetched(f"{url} sent nothing for {patience.silent:.0f} s")
                ready, _, _ = select.select([child.stdout], [], [], min(deadline, last_output + patience.silent) - now)
                if not ready:
                    continue
                # read1: a line of the child's may come in parts, which spoils nothing but a moment's display.
                said = child.stdout.read1(4096)  # type: ignore[attr-defined]
                if not said:
                    break
                last_output = time.monotonic()
                if numbers := said.split():
                    step.detail = f"{int(numbers[-1]) >> 20} MiB"
            error = child.stderr.read().decode(errors="replace").strip()
            return child.wait(), error.splitlines()[-1] if error else f"{url}: the download failed without a word"
        finally:
            child.kill()


def _check(archive: Path, wanted: Pin) -> None:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha512").hexdigest()
    if found != wanted.sha512:
        raise NotFetched(
            f"{wanted.name} has the wrong checksum, and nothing of it was used: sha512 {found}, "
            f"where {PINS.name} has {wanted.sha512}"
        )


def _unpack(archive: Path, target: Path) -> None:
    target.mkdir()
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = Path(member.name).name
                if name in REQUIRED and member.isfile() and (content := tar.extractfile(member)):
                    with (target / name).open("wb") as file:
                        shutil.copyfileobj(content, file)
                    (target / name).chmod(0o755)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise NotFetched(f"{archive.name} cannot be unpacked: {error}") from error
    if missing := missing_in(target, controllers=False):
        raise NotFetched(f"{archive.name} has no {', '.join(missing)}")
