"""The real Helm, built once for the tests of the chart and for `make release`."""

from pathlib import Path
from typing import Final

from tests.oracles import go_programs

_SOURCE: Final = Path(__file__).parent / "helm_go"
_VERSION: Final = "helm.sh/helm/v3/internal/version.version"


def program() -> Path:
    """Helm, of the pinned version, which a build does not know by itself. Raises `go_programs.CannotBuild`."""
    line = next(line for line in (_SOURCE / "go.mod").read_text().splitlines() if "helm.sh/helm/v3 v" in line)
    version = line.split()[-1 if "//" not in line else -3]
    return go_programs.build(_SOURCE, "helm.sh/helm/v3/cmd/helm", (f"-ldflags=-s -w -X {_VERSION}={version}",))
