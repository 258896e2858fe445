"""Makes in `dist/` all of a release that needs no registry: `make release [IMAGE=NAME:TAG] [URL=...]`.

- `install.yaml`, and `install-<overlay>.yaml` for each other overlay: one file that `kubectl apply` takes
- `curation-operator-<version>.tgz`: the Helm chart, whose values name the image
- the Python wheel, with `curation-operator` and `kubectl-curation`
- `kubectl-curation-<version>-<os>-<arch>.tar.gz` of this platform, which needs no Python
- `curation.yaml`, by which krew installs that, if URL says where the files will be
- `SHA256SUMS` of them all

IMAGE is the operator's image, in the manifests; without it they name one of no registry, for an overlay to set.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import hack.chart
from hack.krew import archive
from hack.krew import manifest as krew
from testing.controlplane.build import find_or_build
from testing.controlplane.errors import ControlPlaneError
from tests.oracles import go_programs, helm

ROOT = Path(__file__).resolve().parent.parent
OVERLAYS = ROOT / "manifests" / "overlays"

_REFERENCE = re.compile(r"(?P<name>[^@\s]+?)(:(?P<tag>[\w.-]+)|@(?P<digest>sha256:[0-9a-f]{64}))")


class ReleaseError(Exception):
    """There is no release; the message says why and what to do."""


def image_of(reference: str) -> dict[str, str]:
    """What kustomize's `images` takes: of `registry:5000/name:tag` or `name@sha256:...`. Raises ReleaseError."""
    found = _REFERENCE.fullmatch(reference)
    if not found:
        raise ReleaseError(f"IMAGE={reference} names no tag and no digest: give NAME:TAG or NAME@sha256:DIGEST")
    version = {"digest": found["digest"]} if found["digest"] else {"newTag": found["tag"]}
    return {"name": "curation-operator", "newName": found["name"], **version}


def manifest(kubectl: Path, overlay: str, image: dict[str, str] | None) -> str:
    """An overlay in one file."""
    if image is None:
        return _run(str(kubectl), "kustomize", str(OVERLAYS / overlay))
    with tempfile.TemporaryDirectory() as folder:
        # Kustomize takes no absolute paths.
        base = os.path.relpath(OVERLAYS / overlay, Path(folder).resolve())
        content: dict[str, Any] = {"kind": "Kustomization", "resources": [base], "images": [image]}
        (Path(folder) / "kustomization.yaml").write_text(json.dumps(content))
        return _run(str(kubectl), "kustomize", folder)


def chart(target: Path, image: dict[str, str] | None) -> Path:
    """The chart in `target`, whose values name the image."""
    copied = hack.chart.make(target / "curation-operator")
    if image:
        values = copied / "values.yaml"
        text = values.read_text()
        wanted = {"repository": image["newName"], "tag": image.get("newTag", ""), "digest": image.get("digest", "")}
        for name, value in wanted.items():
            # As text, so that the comments stay; the first of each name is the image's. JSON is YAML.
            line = f"  {name}: {json.dumps(value)}".replace("\\", "\\\\")
            text, count = re.subn(rf"(?m)^  {name}: .*$", line, text, count=1)
            assert count == 1, f"{copied}/values.yaml has no image.{name}"
        values.write_text(text)
    return copied


def file_of(overlay: str) -> str:
    """The name of its file."""
    return "install.yaml" if overlay == "default" else f"install-{overlay}.yaml"


def release(target: Path, image: dict[str, str] | None, *, plugin: bool = True, url: str | None = None) -> list[Path]:
    """Write everything into `target`, in place of an earlier release; returns the files. Raises ReleaseError.

    Without `plugin` there is no archive of kubectl-curation, which takes some minutes.
    """
    earlier = _earlier(target)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    kubectl = find_or_build(controllers=False).kubectl
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for overlay in sorted(path.name for path in OVERLAYS.iterdir()):
            header = f"# The Curation Operator {version}: manifests/overlays/{overlay} in one file.\n"
            (scratch / file_of(overlay)).write_text(header + manifest(kubectl, overlay, image))
        program = helm.program()
        with tempfile.TemporaryDirectory() as copied:
            _run(str(program), "package", str(chart(Path(copied), image)), "--destination", folder)
        options = ("--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--wheel-dir", folder)
        _run(sys.executable, "-m", "pip", "wheel", *options, str(ROOT))
        if plugin:
            made_archive = archive.archive(scratch, version)
            if url:
                (scratch / krew.FILE).write_text(krew.manifest(version, [made_archive], url))
        made = sorted(path for path in scratch.iterdir())
        sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in made)
        (scratch / "SHA256SUMS").write_text(sums)
        for path in earlier:
            path.unlink(missing_ok=True)
        target.mkdir(parents=True, exist_ok=True)
        return [Path(shutil.copy(path, target)) for path in (*made, scratch / "SHA256SUMS")]


_OF_OTHERS = {"chart", "plugin"}
"""Folders of other targets, which stay."""


def _earlier(target: Path) -> list[Path]:
    """The files of an earlier release. Raises ReleaseError if the folder has others: SHA256SUMS names all of ours."""
    try:
        found = {path.name for path in target.iterdir()}
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        raise ReleaseError(f"{target} is no folder: give another one") from None
    sums = target / "SHA256SUMS"
    ours = {line.partition("  ")[2] for line in sums.read_text().splitlines()} if sums.is_file() else set()
    if others := sorted(found - ours - {sums.name} - _OF_OTHERS):
        raise ReleaseError(f"{target} has {others[0]}, which is of no release: remove it, or give another folder")
    return [target / name for name in sorted(found - _OF_OTHERS)]


def _run(*command: str) -> str:
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise ReleaseError(f"`{' '.join(command)}` failed: {ended.stderr.strip()[-2000:]}")
    return ended.stdout


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hack.release", description=__doc__)
    parser.add_argument("--image", help="the operator's image, with tag or digest")
    parser.add_argument("--url", help="where the files will be, such as .../releases/download/v0.1.0: for krew")
    parser.add_argument("--without-plugin", action="store_true", help="make no archive of kubectl-curation")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="the folder (default: dist)")
    arguments = parser.parse_args()
    try:
        image = image_of(arguments.image) if arguments.image else None
        files = release(arguments.out, image, plugin=not arguments.without_plugin, url=arguments.url)
    except (ReleaseError, ControlPlaneError, archive.CannotBundle, go_programs.CannotBuild) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(str(path) for path in files))
    if not arguments.image:
        print("The manifests name the image of no registry: set IMAGE=NAME:TAG to put yours in.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
