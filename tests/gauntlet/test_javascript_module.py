"""A module of JavaScript: as `tests/integration/operator/test_other_languages.py` has one of Python."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.scripted_registry import ScriptedRegistry, scripted_registry
from tests.harness.world import World
from tests.integration.operator.test_other_languages import runs_a_job_to_its_end


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[ScriptedRegistry]:
    with scripted_registry(tmp_path) as served:
        yield served


@pytest.mark.own_operator
@pytest.mark.timeout(1500)
async def test_a_signed_module_of_javascript_runs_a_job_to_its_end(
    world: World, registry: ScriptedRegistry, tmp_path: Path, javascript_module: bytes
) -> None:
    await runs_a_job_to_its_end(world, registry, tmp_path, "javascript", javascript_module)
