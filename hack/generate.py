"""Writes what is generated: `crds/` and `docs/schemas/`, from the models, and the copies of the world.

``--check`` writes nothing and shows a diff.

Run by `make generate` and `make verify` as ``python -m hack.generate [--check]``.
"""

import argparse
import difflib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from curation.api.contract import contract_schemas
from curation.api.crd import CRD_KINDS, crd, crd_yaml
from curation.api.files import file_schemas
from hack.manifest_schemas import FOLDER, manifest_schemas

ROOT = Path(__file__).resolve().parent.parent
WORLD = ROOT / "modules/wit/curation.wit"
CONTRACT = ("rust", "javascript", "python/curation_guest")
"""The packages of the contract, in `modules/contract`."""
_HEADER = "# Generated from operator/curation/api by `make generate`; do not edit.\n"


def generated() -> dict[str, str]:
    """Every generated file: its path from the root, and its text."""
    files = {f"crds/{kind.plural}.yaml": _HEADER + crd_yaml(crd(kind)) for kind in CRD_KINDS}
    files["crds/Kustomization"] = _HEADER + _kustomization(files)
    for kind in CRD_KINDS:
        for name, schema in manifest_schemas(crd(kind)).items():
            files[f"{FOLDER}/{name}"] = json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    for name, schema in {**contract_schemas(), **file_schemas()}.items():
        files[f"docs/schemas/{name}.json"] = json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    # A package holds all that it needs: npm leaves links out, and so the world is copied.
    world = WORLD.read_text(encoding="utf-8")
    files.update({f"modules/contract/{package}/wit/curation.wit": world for package in CONTRACT})
    return files


def _kustomization(files: Mapping[str, str]) -> str:
    # Named without an ending, which kustomize reads and `kubectl apply -f crds/` passes over.
    resources = "".join(f"  - {Path(path).name}\n" for path in sorted(files))
    return f"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n{resources}"


def stale(files: Mapping[str, str], root: Path) -> list[Path]:
    """Files in the generated folders that nothing generates any more."""
    patterns = sorted({(root / path).parent / f"*{Path(path).suffix}" for path in files if Path(path).suffix})
    return sorted(
        path
        for pattern in patterns
        for path in pattern.parent.glob(pattern.name)
        if str(path.relative_to(root)) not in files
    )


def difference(files: Mapping[str, str], root: Path) -> str:
    """A unified diff from the files on disk to the generated ones; empty when they agree."""
    lines: list[str] = []
    for path, text in sorted(files.items()):
        old = (root / path).read_text(encoding="utf-8") if (root / path).is_file() else ""
        lines += difflib.unified_diff(
            old.splitlines(keepends=True), text.splitlines(keepends=True), f"a/{path}", f"b/{path}"
        )
    lines += [f"Only on disk, no longer generated: {path.relative_to(root)}\n" for path in stale(files, root)]
    return "".join(lines)


def write(files: Mapping[str, str], root: Path) -> None:
    """Writes the generated files below the root and removes those that nothing generates any more."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    for left in stale(files, root):
        left.unlink()


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 1 when ``--check`` found a difference."""
    parser = argparse.ArgumentParser(prog="python -m hack.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; print a diff and exit 1 if files differ")
    options = parser.parse_args(arguments)
    files = generated()
    if not options.check:
        write(files, ROOT)
        return 0
    text = difference(files, ROOT)
    sys.stdout.write(text)
    if text:
        sys.stderr.write("generated files differ from the models: run `make generate` and commit the result\n")
    return 1 if text else 0


if __name__ == "__main__":
    sys.exit(main())
