"""Policies in files: Cedar text, or manifests with CurationPolicies and ClusterCurationPolicies in them."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from curation.cli.errors import BadInput, PluginError
from curation.cluster import yaml_text

POLICY_KINDS: Final = ("CurationPolicy", "ClusterCurationPolicy")
MAX_POLICY_FILE_BYTES: Final = 8 << 20
"""Of one file: a hundred policies as large as one may be."""


@dataclass(frozen=True, slots=True)
class PolicyText:
    """One policy object of a file, or the whole file if it is Cedar text."""

    file: str
    cedar: str
    name: str
    """Of the object; of Cedar text the file."""
    kind: str | None = None
    """None: Cedar text, which counts as a CurationPolicy."""
    namespace: str | None = None
    """Where it counts; None: where whoever asks is, or, of a ClusterCurationPolicy, everywhere."""

    @property
    def label(self) -> str:
        """Where it is, for messages."""
        return self.file if self.kind is None else f"{self.file}: {self.kind}/{self.name}"

    @property
    def everywhere(self) -> bool:
        """Whether it counts in every namespace."""
        return self.kind == "ClusterCurationPolicy"

    def place(self, namespace: str) -> str | None:
        """The namespace that it counts in for whoever is in `namespace`; None: all, as `PolicyBook` has it."""
        return None if self.everywhere else self.namespace or namespace

    def clash_with(self, other: "PolicyText") -> str:
        """What is wrong when both have one name in one place: a cluster has only one of them."""
        return f"{self.label} has the name of {other.label}: in a cluster one would replace the other"


def policy_texts(file: str) -> Iterator[PolicyText]:
    """The policies of a file, - is standard input. Raises PluginError, naming the file."""
    text = read_text(file)
    documents = _manifests(file, text)
    if documents is None:
        yield PolicyText(file, text, file)
        return
    found = 0
    for document in documents:
        if document.get("kind") in POLICY_KINDS:
            found += 1
            yield policy_of(file, document)
    if not found:
        raise PluginError(f"{file} holds no CurationPolicy and no ClusterCurationPolicy")


def policy_of(file: str, document: dict[str, Any]) -> PolicyText:
    """The policy of a manifest. Raises PluginError."""
    kind, metadata, spec = document["kind"], document.get("metadata"), document.get("spec")
    metadata = metadata if isinstance(metadata, dict) else {}
    name, namespace = metadata.get("name") or metadata.get("generateName"), metadata.get("namespace") or None
    if not isinstance(name, str):
        raise PluginError(f"{file}: a {kind} has no metadata.name; give it one")
    cedar = spec.get("cedar") if isinstance(spec, dict) else None
    if not isinstance(cedar, str):
        raise PluginError(f"{file}: {kind} {name} has no spec.cedar; put the Cedar text there")
    return PolicyText(file, cedar, name, kind, str(namespace) if namespace else None)


def read_text(file: str, most: int = MAX_POLICY_FILE_BYTES) -> str:
    """The text of a file, - is standard input, of at most so many bytes. Raises PluginError."""
    try:
        if file == "-":
            raw = sys.stdin.buffer.read(most + 1)
        else:
            with Path(file).open("rb") as opened:
                raw = opened.read(most + 1)
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror or error}") from None
    if len(raw) > most:
        raise PluginError(f"{file} has more than {most} bytes; split it")
    try:
        return raw.decode("utf-8-sig")  # Windows' editors begin a text with a byte order mark
    except UnicodeDecodeError:
        raise PluginError(f"{file} is not UTF-8 text; save it as UTF-8") from None


def documents_of(file: str, text: str) -> list[Any]:
    """The YAML or JSON documents of a text. Raises ValueError, yaml.YAMLError and RecursionError.

    Both are held to the same: no key twice, no value that JSON has not, bounded depth.
    """
    if not file.lower().endswith(".json"):
        return list(yaml_text.load_all(text))
    try:
        text.encode()
    except UnicodeEncodeError:  # an argument of the command line may be any bytes
        raise ValueError("it is not UTF-8 text") from None
    document = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    _check_nesting(document)
    if "\\u" in text:
        _check_text(document)
    return [document]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name[:80]!r} is given twice; leave one out")
        found[name] = value
    return found


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")


def _check_nesting(document: Any) -> None:
    level = [document]
    for _ in range(yaml_text.MAX_YAML_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise ValueError(f"it is nested more than {yaml_text.MAX_YAML_DEPTH} levels deep")


def _check_text(document: Any) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text in it has a lone surrogate") from None


def with_items(documents: list[Any]) -> list[dict[str, Any]]:
    """The mappings among the documents, and those in the lists of a kind List."""
    found = [document for document in documents if isinstance(document, dict)]
    for document in list(found):
        if isinstance(items := document.get("items"), list):
            found += [item for item in items if isinstance(item, dict)]
    return found


def _manifests(file: str, text: str) -> list[dict[str, Any]] | None:
    """The manifests in the text; None if it is Cedar text. For standard input its content decides."""
    named = file.lower().endswith((".yaml", ".yml", ".json"))
    if not named and file != "-":
        return None
    try:
        documents = with_items(documents_of(file, text))
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        if named:
            raise PluginError(f"{file} is not valid: {error}") from None
        return None
    return documents if named or any("kind" in document for document in documents) else None
