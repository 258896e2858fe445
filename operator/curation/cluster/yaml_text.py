"""YAML as people write it: a kubeconfig, a manifest. Called by `kubeconfig`, and by the commands that read files.

What a text can make of itself is bounded: its depth, what its aliases repeat, the length of its numbers.
"""

from collections.abc import Iterator
from typing import Any, Final

import yaml

MAX_YAML_DEPTH: Final = 100
"""Levels of nesting. Kubernetes' own files have about ten."""
MAX_REPEATED: Final = 1 << 20
"""Nodes, and characters of scalars, that all aliases of a text repeat. Each of a few lines can repeat the one above."""
MAX_NUMBER: Final = 400
"""Characters of a number: Python needs time with the square of them, and does not print a very large one."""


def _error(problem: str, mark: Any) -> yaml.YAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """Trap: PyYAML needs time with the square of the depth, and Python's stack: our recursion limit is high."""

    _depth = 0
    _repeated = 0

    def __init__(self, stream: str | bytes) -> None:
        super().__init__(stream)
        self._weights: dict[yaml.Node, int] = {}
        """Of each node with all that is in it, aliases written out."""
        self._inner = [0]

    def compose_document(self) -> yaml.Node | None:
        self._weights.clear()
        return super().compose_document()

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        if self._depth > MAX_YAML_DEPTH:
            raise yaml.YAMLError(f"it is nested more than {MAX_YAML_DEPTH} levels deep")
        alias = self.peek_event() if self.check_event(yaml.AliasEvent) else None  # type: ignore[no-untyped-call]
        self._inner.append(0)
        node = super().compose_node(parent, index)
        weight = self._inner.pop() + 1
        if node is not None and alias is not None:
            weight = self._weight_of(node, alias)
        elif node is not None:
            weight += len(node.value) if isinstance(node, yaml.ScalarNode) else 0
            self._weights[node] = weight
        self._inner[-1] += weight
        self._depth -= 1
        return node

    def _weight_of(self, node: yaml.Node, alias: yaml.Event) -> int:
        weight = self._weights.get(node)
        if weight is None:
            raise _error("an alias is within what it names", alias.start_mark)
        self._repeated += weight
        if self._repeated > MAX_REPEATED:
            raise _error(
                f"its aliases repeat more than {MAX_REPEATED} values and characters; write out what they name",
                alias.start_mark,
            )
        return weight

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        try:
            node.value.encode()
        except UnicodeEncodeError:  # "\ud800" is YAML, and no text
            raise _error("the text has a lone surrogate", node.start_mark) from None
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        kind = node.tag.rpartition(":")[2]
        if kind in ("int", "float") and isinstance(node, yaml.ScalarNode) and len(node.value) > MAX_NUMBER:
            problem = f"a number has {len(node.value)} characters, {MAX_NUMBER} are allowed"
            raise _error(problem, node.start_mark)
        try:
            return super().construct_object(node, deep)
        except (LookupError, AttributeError, TypeError, ValueError):
            # Trap: what PyYAML raises for a value that its tag cannot have: `!!bool x`, `!!int ""`, 2020-13-01.
            raise _error(f"it is no {kind}", node.start_mark) from None


class _StrictLoader(_Loader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                problem = f"the key {key.value[:80]!r} is given twice; leave one out"
                raise _error(problem, key.start_mark)
            seen.add((key.tag, key.value))
        return node


def load(text: str | bytes) -> Any:
    """The one document of a text. Raises yaml.YAMLError, and ValueError for values that YAML cannot mean."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - it is a safe loader


def load_all(text: str | bytes) -> Iterator[Any]:
    """The documents of a text. Raises as `load`, and for a key that is given twice, of which YAML takes the last."""
    return iter(yaml.load_all(text, Loader=_StrictLoader))
