"""The first job of the README, as a reader saves it."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def first_job() -> str:
    """The text of `first.yaml`. Raises AssertionError unless the README has exactly one."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    found = [block for block in blocks if "name: first," in block]
    assert len(found) == 1, "README.md shows first.yaml once"
    return str(found[0])


def first_objects() -> dict[str, dict[str, Any]]:
    """Its objects, by kind."""
    return {document["kind"]: document for document in yaml.safe_load_all(first_job())}
