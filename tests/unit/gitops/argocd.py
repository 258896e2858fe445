"""Runs the Lua of Argo CD's resource customizations as Argo CD runs it (its util/lua/lua.go).

Its runtime is gopher-lua, which is Lua 5.1, with the base, package and table libraries and an os of date and time;
the string and math libraries are off for scripts that come from argocd-cm. An action's result is merged over the
object as its cleanReturnedObj does it: Lua cannot distinguish an empty map from an empty list.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from lupa.lua51 import LuaRuntime, lua_type

ARGOCD = Path(__file__).parents[3] / "manifests" / "gitops" / "argocd"
CUSTOMIZATIONS = ARGOCD / "resource_customizations" / "curation.dev"
KINDS = ("CurationJob", "CurationModule", "CurationPolicy", "ClusterCurationPolicy", "CurationApproval")
HEALTHS = frozenset({"Healthy", "Progressing", "Degraded", "Suspended"})
NOW = "2030-01-01T12:00:00Z"

_RESTRICT = """
local date, loaded = ..., package.loaded
local safe = {date = date, time = os.time}
for _, name in ipairs({"string", "math", "io", "debug", "coroutine", "bit", "jit"}) do
  _G[name] = nil
  loaded[name] = nil
end
os, loaded.os = safe, safe
"""


def load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=_Verbatim)
    return loaded


def health(obj: dict[str, Any]) -> tuple[str, str]:
    """The health status and message of an object."""
    verdict = _run(CUSTOMIZATIONS / obj["kind"] / "health.lua", obj)
    assert verdict["status"] in HEALTHS
    assert set(verdict) <= {"status", "message"}
    return verdict["status"], verdict["message"]


def discover(obj: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The actions that are offered for an object."""
    offered: dict[str, dict[str, Any]] = _run(CUSTOMIZATIONS / obj["kind"] / "actions" / "discovery.lua", obj)
    return offered


def act(obj: dict[str, Any], action: str, now: str = NOW) -> dict[str, Any]:
    """The object after an action."""
    changed: dict[str, Any] = _clean(
        _run(CUSTOMIZATIONS / obj["kind"] / "actions" / action / "action.lua", obj, now), obj
    )
    return changed


def _run(script: Path, obj: dict[str, Any], now: str = NOW) -> Any:
    lua = LuaRuntime(register_eval=False, register_builtins=False, unpack_returned_tuples=True)
    asked: list[str] = []

    def date(form: str) -> str:
        asked.append(form)
        return now

    lua.execute(_RESTRICT, date)
    lua.globals().obj = lua.table_from(obj, recursive=True)
    result = lua.execute(script.read_text(encoding="utf-8"))
    assert asked in ([], ["!%Y-%m-%dT%H:%M:%SZ"]), "the time is written in UTC"
    return _plain(result)


def _plain(value: Any) -> Any:
    if lua_type(value) != "table":
        return value
    keys = list(value.keys())
    if not keys:
        return []  # as gopher-json has it
    if all(isinstance(key, int) for key in keys):
        return [_plain(value[number]) for number in range(1, len(keys) + 1)]
    return {key: _plain(item) for key, item in value.items()}


def _clean(new: Any, old: Any) -> Any:
    if isinstance(new, dict) and isinstance(old, dict):
        return {key: _clean(item, old.get(key)) for key, item in new.items()}
    if new == [] and isinstance(old, dict):
        return old
    if isinstance(new, list) and isinstance(old, list):
        return [_clean(item, old[number] if number < len(old) else None) for number, item in enumerate(new)]
    return new


class _Verbatim(yaml.SafeLoader):
    """Times stay text, as in JSON."""


_construct: Callable[[yaml.SafeLoader, yaml.ScalarNode], str] = yaml.SafeLoader.construct_yaml_str
_Verbatim.add_constructor("tag:yaml.org,2002:timestamp", _construct)
