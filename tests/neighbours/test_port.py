"""Whoever reaches the port of health and metrics floods it, and the operator works.

Compared with the same flood of another operator's port: what the machine suffers of it is the same.
"""

import statistics
from urllib.parse import urlsplit

import pytest

from testing.operator_process import OperatorProcess
from tests.faults.flood import flood
from tests.harness.neighbours import another_namespace, work
from tests.harness.world import World

EVIDENT = 5
RATIO = 5.0


def place(operator: OperatorProcess) -> tuple[str, int]:
    """Where its port is."""
    found = urlsplit(operator.url)
    assert found.hostname is not None
    assert found.port is not None
    return found.hostname, found.port


@pytest.mark.own_operator
@pytest.mark.parametrize("kind", ["requests", "loris", "storm", "pipeline"])
async def test_jobs_run_and_end_while_the_port_of_metrics_is_flooded(world: World, kind: str) -> None:
    await world.prepare()
    async with another_namespace(world, "other") as elsewhere:
        operator = world.operator()
        other = world._make(elsewhere.namespace)
        world.operators.append(other)
        await operator.start()
        await other.start()
        await work(world, "first", 1)
        with flood(kind, *place(other)):
            control = await work(world, "control", EVIDENT)
        with flood(kind, *place(operator)):
            flooded = await work(world, "flooded", EVIDENT)
        shown = f"{kind}: {control} with the flood of another, {flooded} with its own"
        print(shown)
        before, after = (statistics.median(each.whole for each in took) for took in (control, flooded))
        assert after <= RATIO * before, shown
        assert operator.running
        await world.settled()
        await operator.kill()
        await other.kill()
