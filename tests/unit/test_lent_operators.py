"""The harness: a test that borrows an operator has none of its own (`tests.harness.lender`)."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.harness.world import World


async def test_a_test_that_is_lent_an_operator_may_start_none_of_its_own_beside_it(tmp_path: Path) -> None:
    nothing: Any = SimpleNamespace(namespace="test")
    world = World(nothing, nothing, tmp_path, lender=nothing)
    with pytest.raises(AssertionError, match="own_operator"):
        await world.start_operator("--log-level", "debug")
    assert world.operators == []
