"""The files of a kubeconfig, merged as client-go does it: the first that has a name wins. Used by `kubeconfig`."""

from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import ValidationError

from curation.cluster import yaml_text
from curation.cluster.kubeconfig_entries import ConfigurationError, Entry

_TOP: Final = frozenset(
    {"apiVersion", "kind", "clusters", "contexts", "users", "current-context", "preferences", "extensions"}
)

E = TypeVar("E", bound="Entry")


class MergedFiles:
    """The entries of all files, by kind and name, each with its file."""

    def __init__(self) -> None:
        self.current = ""
        self._entries: dict[tuple[str, str], tuple[object, Path]] = {}

    def add(self, path: Path) -> None:
        """Take in one more file; what an earlier one has stays. Raises `ConfigurationError`."""
        document = _load(path)
        for kind in ("cluster", "context", "user"):
            named: set[str] = set()
            for number, item in enumerate(_items(path, document, f"{kind}s")):
                name = item.get("name")
                if not isinstance(name, str):
                    raise ConfigurationError(f"{path}: {kind}s[{number}].name: must be a string, not {name!r}")
                if name in named:
                    raise ConfigurationError(f"{path}: {kind}s: the name {name} is there twice")
                named.add(name)
                _check_fields(path, f"{kind}s[{number}].", item, {"name", kind})
                self._entries.setdefault((kind, name), (item.get(kind), path))
        current = document.get("current-context") or ""
        if not isinstance(current, str):
            raise ConfigurationError(f"{path}: current-context: must be a string, not {current!r}")
        self.current = self.current or current

    def entry(self, kind: str, name: str, model: type[E], named_by: str) -> E:
        """The entry. Raises `ConfigurationError` if there is none, or a field of it is not to be understood."""
        if (kind, name) not in self._entries:
            raise ConfigurationError(f"there is no {kind} of the name {name}, which {named_by} asks for")
        found, path = self._entries[kind, name]
        if found is None:
            return model()
        try:
            return model.model_validate(_without_nulls(found))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise _unknown(path, f"{kind} {name}: {place}") from None
            raise ConfigurationError(f"{path}: {kind} {name}: {place}: {first['msg']}") from None

    def folder(self, kind: str, name: str) -> Path:
        """Where its relative paths begin."""
        return self._entries.get((kind, name), (None, Path("x")))[1].absolute().parent


def merged_files(paths: Sequence[Path]) -> MergedFiles:
    """The entries of these files: of one name the first counts. Raises `ConfigurationError`."""
    merged = MergedFiles()
    for path in paths:
        merged.add(path)
    return merged


def _unknown(path: Path, place: str) -> ConfigurationError:
    return ConfigurationError(f"{path}: {place}: is not a field that Kubernetes has; remove it")


def _check_fields(path: Path, place: str, document: Mapping[str, object], known: Set[str]) -> None:
    for name, value in document.items():
        if value is not None and name not in known:
            raise _unknown(path, f"{place}{name}")


def _load(path: Path) -> dict[str, Any]:
    try:
        document = yaml_text.load(path.read_bytes())
    except (OSError, yaml.YAMLError, ValueError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path} is not a kubeconfig: it has to be a mapping")
    _check_fields(path, "", document, _TOP)
    for name, wanted in (("apiVersion", "v1"), ("kind", "Config")):
        if document.get(name) not in (None, "", wanted):
            raise ConfigurationError(f"{path} is not a kubeconfig: {name} is {document[name]!r}, not {wanted!r}")
    return document


def _items(path: Path, document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = document.get(name) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ConfigurationError(f"{path}: {name}: must be a list of mappings")
    return found


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value
