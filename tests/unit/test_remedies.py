"""What a message names as a remedy exists: the options, verbs, fields, kinds and files in every text of the code."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import click

from curation.api.crd import CRD_KINDS, crd
from curation.cli.operator import main
from curation.cli.plugin import cli

ROOT = Path(__file__).resolve().parents[2]
CODE = ROOT / "operator" / "curation"
OF_OTHERS = {
    "kubectl": {"--clusterrole", "--server-side", "--subresource", "--tail", "--type", "--user"},
    "cosign": {"--key"},
    "cargo and rustc": {"--offline", "--print", "--quiet", "--release", "--remap-path-prefix", "--target"},
    "a linker": {"--initial-memory"},
    "componentize-py": {"--stub-wasi"},
}
"""Options of other programs that messages and commands name."""
CORE_KINDS = {"configmap", "deployment", "pods", "secret"}
NOT_OURS = {"cluster/exec_plugin.py"}
"""Names the fields of another API."""


@cache
def texts() -> list[tuple[str, str]]:
    """Every text that is no docstring, with its place; what is filled in later is `{}`."""
    return [
        (f"{path.relative_to(CODE)}:{line}", text)
        for path in sorted(CODE.rglob("*.py"))
        for line, text in _texts(ast.parse(path.read_text(encoding="utf-8")))
    ]


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    passed_over: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            passed_over.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            passed_over.update(node.values)
            yield (
                node.lineno,
                "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values),
            )
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in passed_over:
            yield node.lineno, node.value


def named(form: str) -> Iterator[tuple[str, str]]:
    """What has this form, with the place of its text."""
    found = 0
    for place, text in texts():
        for match in re.findall(form, text):
            found += 1
            yield place, match
    assert found, "the form finds nothing, so it shows nothing"


def options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    if isinstance(command, click.Group):
        for each in verbs(command).values():
            yield from options(each)


def verbs(group: click.Group) -> dict[str, click.Command]:
    """Also those that are loaded when they are asked for."""
    context = click.Context(group)
    found = {name: group.get_command(context, name) for name in group.list_commands(context)}
    return {name: command for name, command in found.items() if command is not None}


def test_every_option_that_a_message_names_exists() -> None:
    known = {"--help", *options(main), *options(cli)}.union(*OF_OTHERS.values())
    assert [each for each in named(r"(?<![\w-])--[a-z][a-z-]+") if each[1] not in known] == []


def test_every_verb_that_a_message_names_exists() -> None:
    assert [each for each in named(r"kubectl curation ([a-z][a-z-]*)") if each[1] not in verbs(cli)] == []
    assert [each for each in named(r"`?curation-operator ([a-z]+)\b") if each[1] not in verbs(main)] == []


def test_every_kind_that_a_kubectl_command_of_a_message_names_exists() -> None:
    ours = {
        name
        for kind in CRD_KINDS
        for names in [crd(kind)["spec"]["names"]]
        for name in (names["singular"], names["plural"], *names["shortNames"])
    }
    form = r"kubectl (?:get|describe|delete|edit|patch|create) ([a-z]+)\b"
    known = ours | CORE_KINDS | {"rolebinding"}
    assert [each for each in named(form) if each[1] not in known] == []


def test_every_file_that_a_message_names_is_in_the_repository() -> None:
    form = r"(?<![\w/.-])((?:crds|docs|hack|manifests|modules)/[\w./-]*\w)"
    assert [each for each in named(form) if not (ROOT / each[1]).exists()] == []


def test_every_field_that_a_message_names_exists() -> None:
    schemas = [crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for kind in CRD_KINDS]
    wrong = [
        (place, path)
        for place, path in named(r"(?<![\w.-])((?:spec|status)\.[a-z][\w.\[\]]*)")
        if place.partition(":")[0] not in NOT_OURS
        and not any(has(schema, re.sub(r"\[.*?(\]|$)", "", path).strip(".").split(".")) for schema in schemas)
    ]
    assert wrong == []


def has(schema: dict[str, Any], path: list[str]) -> bool:
    """Whether it has the field; below one that takes anything, all are there."""
    if not path or schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema:
        return True
    schema = schema.get("items", schema)
    properties = schema.get("properties", {})
    return path[0] in properties and has(properties[path[0]], path[1:])
