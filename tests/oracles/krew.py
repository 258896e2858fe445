"""The real krew, built once."""

from pathlib import Path

from tests.oracles import go_programs


def program() -> Path:
    """krew, of the pinned version. Raises `go_programs.CannotBuild`."""
    return go_programs.build(Path(__file__).parent / "krew_go", "sigs.k8s.io/krew/cmd/krew")
