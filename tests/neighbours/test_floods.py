"""One namespace floods, another one works: each flood of `tests.faults.neighbours`, as long as the other one needs.

Compared with the same flood in a namespace that the operator does not serve: what the API server and the machine
suffer of it is the same.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.neighbours import OF_OTHERS
from tests.harness.leases import election
from tests.harness.neighbours import Work, another_namespace, flooding, hostile_server, work
from tests.harness.world import World

EVIDENT = 5
"""Jobs that are timed while a flood is on."""
MEMORY = "64Gi"
"""A quarter of it, which one namespace may have, is more than most of the floods take: their bound is the slots."""
RATIO = 5.0
"""How many times longer they may take. Guests that compute take processor time that the control leaves to all."""
WINDOWS = 3
"""So often they are timed while the flood goes on, until they were within it once. What else the machine does makes a
window longer, never shorter; a namespace that is starved is so as long as the flood lasts."""


def _median(took: Sequence[Work]) -> float:
    return statistics.median(each.whole for each in took)


@pytest.mark.own_operator
@pytest.mark.parametrize("name", OF_OTHERS)
async def test_another_namespace_works_while_one_floods_and_the_lease_is_kept(
    world: World, tmp_path: Path, name: str
) -> None:
    await world.prepare()
    async with (
        another_namespace(world, "unserved") as unserved,
        another_namespace(world, "served") as served,
        election(world) as lease,
        hostile_server() as url,
    ):
        operator = world.operator("-n", served.namespace, "--workers-memory", MEMORY, lease=True)
        await operator.start()
        assert await lease.leader() is operator
        flood = OF_OTHERS[name](url)
        await work(world, "first", 1)
        async with flooding(unserved, flood, tmp_path, served=False):
            control = await work(world, "control", EVIDENT)
        windows = [("control", control)]
        async with flooding(served, flood, tmp_path, served=True):
            for number in range(WINDOWS):
                windows.append(("flooded", await work(world, f"flooded-{number}", EVIDENT)))
                ratio = _median(windows[-1][1]) / _median(control)
                if ratio <= RATIO:
                    break
        shown = "\n".join(
            f"{what} {name}: " + ", ".join(f"{each.running:.2f}+{each.gone:.2f}" for each in took)
            for what, took in windows
        )
        print(f"{shown}\n{ratio:.2f} times the control")
        assert ratio <= RATIO, shown
        assert operator.running
        assert len(lease.holders()) == 1
        assert lease.transitions() == 0
        await world.settled()
        await operator.kill()
