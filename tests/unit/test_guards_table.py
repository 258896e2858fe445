"""The table of `hack.guards` fits the source: each change is to be made once, and each test is there.

The tests themselves are run, on the changed source, by `make guards`.
"""

import ast
from pathlib import Path

import pytest

from hack.guards_table import GUARDS, Guard

ROOT = Path(__file__).parents[2]
GUARDS_OF_THE_CONTRACT = (
    "run id check",
    "template check",
    "uid check",
    "resourceVersion condition",
    "claim before launch",
    "finalizer before the claim",
    "holder rule",
    "death of an execution",
    "forward-only cache",
    "cancel of a dropped session",
)


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_each_change_is_to_be_made_in_one_place(guard: Guard) -> None:
    for name, old, new in guard.changes:
        assert (ROOT / "operator" / "curation" / name).read_text().count(old) == 1, (name, old)
        assert old != new


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_each_named_test_is_there(guard: Guard) -> None:
    for test in guard.tests:
        path, _, name = test.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / path).read_text(), test


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
def test_a_test_that_has_variants_is_named_with_one(guard: Guard) -> None:
    for test in guard.tests:
        path, _, name = test.partition("::")
        (found,) = [
            each
            for each in ast.walk(ast.parse((ROOT / path).read_text()))
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name == name.partition("[")[0]
        ]
        marks = {ast.unparse(each).partition("(")[0] for each in found.decorator_list}
        if marks & {"pytest.mark.parametrize", "pytest.mark.variants"}:
            assert "[" in name, test


@pytest.mark.parametrize("name", GUARDS_OF_THE_CONTRACT)
def test_every_guard_is_removed_once_and_missed_on_a_real_api_server(name: str) -> None:
    taken_off = [guard for guard in GUARDS if guard.name.startswith(name)]
    assert taken_off
    for guard in taken_off:
        assert any(test.startswith(("tests/integration", "tests/gauntlet")) for test in guard.tests), guard.name
