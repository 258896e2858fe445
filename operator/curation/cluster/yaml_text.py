"""YAML as people write it: a kubeconfig, a manifest. Called by `kubeconfig` and by the command's `check-policy`."""

from collections.abc import Iterator
from typing import Any, Final

import yaml

MAX_YAML_DEPTH: Final = 100
"""Levels of nesting. Kubernetes' own files have about ten."""


class _Loader(yaml.SafeLoader):
    """Trap: PyYAML needs time with the square of the depth, and Python's stack: our recursion limit is high."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_YAML_DEPTH:
            raise yaml.YAMLError(f"it is nested more than {MAX_YAML_DEPTH} levels deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def load(text: str | bytes) -> Any:
    """The one document of a text. Raises yaml.YAMLError, and ValueError for values that YAML cannot mean."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - it is a safe loader


def load_all(text: str | bytes) -> Iterator[Any]:
    """The documents of a text. Raises as `load`."""
    return iter(yaml.load_all(text, Loader=_Loader))
