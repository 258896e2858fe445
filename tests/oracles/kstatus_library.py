"""The real kstatus library and Flux's health check expressions, by the Go program in `kstatus_go`.

Called by `tests/integration/test_kstatus_library.py`.
"""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.oracles import go_programs


@dataclass(frozen=True)
class Computed:
    """What the libraries say of one object. `flux` is empty where the Kustomization has no expressions for its kind."""

    kstatus: str
    message: str
    flux: str = ""


def program() -> Path:
    """The built program; see `go_programs.build`."""
    return go_programs.build(Path(__file__).parent / "kstatus_go")


def compute(binary: Path, objects: Sequence[dict[str, Any]], kustomization: Path | None = None) -> list[Computed]:
    """What the libraries say of each object; `kustomization` is a JSON file."""
    arguments = ["-kustomization", str(kustomization)] if kustomization else []
    run = subprocess.run(
        [str(binary), *arguments],
        input="\n".join(map(json.dumps, objects)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    verdicts = [Computed(**json.loads(line)) for line in run.stdout.splitlines()]
    assert len(verdicts) == len(objects)
    return verdicts
