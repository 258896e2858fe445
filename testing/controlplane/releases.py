"""The API server of another Kubernetes release, which etcd, kubectl and the controllers of the pinned one work beside.

Called by `build` for `make compat`. No go.mod of such a release is committed: it follows from the release's own, whose
staging modules are published under the same minor and patch version, and Go's checksum database vouches for each byte.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testing.controlplane.binaries import cache_folder
from testing.controlplane.errors import ControlPlaneError

BUILD_FLAGS = ("-mod=mod", "-buildvcs=false", "-trimpath")
"""-mod=mod: Go completes the go.mod and writes the go.sum."""

_KUBERNETES = "k8s.io/kubernetes"
_DOWNLOAD_SECONDS = 600


def parse(text: str) -> str:
    """`v1.35.4` of `1.35.4` or `v1.35.4`. Raises ControlPlaneError for anything else."""
    found = re.fullmatch(r"v?(1\.\d+\.\d+)", text)
    if not found:
        raise ControlPlaneError(f"{text!r} is no Kubernetes release: give minor and patch version, such as 1.35.4")
    return f"v{found[1]}"


def folder_of(release: str, environ: Mapping[str, str]) -> Path:
    """Where the API server of a release is kept, whether or not it is there yet."""
    digest = hashlib.sha256(repr((release, BUILD_FLAGS)).encode()).hexdigest()[:12]
    return cache_folder(environ) / f"kube-apiserver-{release}-{digest}"


def go_mod(release: str, kubernetes_go_mod: str) -> str:
    """The text of a go.mod from which the programs of a release are built, made from Kubernetes' own of it."""
    language = re.search(r"^go (\S+)$", kubernetes_go_mod, re.MULTILINE)
    staging = re.findall(r"^\s*(?:replace\s+)?(\S+) => \./staging/src/\1$", kubernetes_go_mod, re.MULTILINE)
    published = release.replace("v1.", "v0.", 1)
    lines = [
        "module controlplane",
        "",
        # Language and run-time defaults (GODEBUG) follow this line, so it is the release's own.
        f"go {language[1]}" if language else "",
        "",
        f"require {_KUBERNETES} {release}",
        "",
        *(f"replace {module} => {module} {published}" for module in staging),
    ]
    return "\n".join(lines) + "\n"


def write_module(go: str, release: str, folder: Path, environment: Mapping[str, str]) -> None:
    """Write the go.mod of a release into an empty folder. Raises ControlPlaneError when there is no such release."""
    (folder / "go.mod").write_text("module controlplane\n")
    text = Path(_downloaded(go, release, folder, environment)["GoMod"]).read_text()
    if "./staging/src/" not in text:
        raise ControlPlaneError(
            f"{_KUBERNETES} {release} replaces no staging modules: this build does not know its form"
        )
    (folder / "go.mod").write_text(go_mod(release, text))


def _downloaded(go: str, release: str, folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    command = [go, "mod", "download", "-json", f"{_KUBERNETES}@{release}"]
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=_DOWNLOAD_SECONDS
    )
    try:
        answer: dict[str, Any] = json.loads(result.stdout)
    except ValueError:
        answer = {}
    if result.returncode or "GoMod" not in answer:
        why = answer.get("Error") or result.stderr.strip()
        raise ControlPlaneError(
            f"Kubernetes {release} cannot be fetched: {why}\n"
            "Check the version and the Go module proxy (`go env GOPROXY`), or set KUBEBUILDER_ASSETS."
        )
    return answer
