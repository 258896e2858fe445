"""A reconciliation every second for a minute, while the jobs run and are edited: see `integration/gitops/minute.py`."""

from testing.controlplane.connection import Connection
from tests.harness.world import World
from tests.integration.cli.running import Plugin
from tests.integration.gitops.minute import Minute


async def test_a_minute_of_reconciliations_every_second_starts_no_run_that_nobody_asked_for(
    world: World, installed: Connection, namespace: str
) -> None:
    await world.prepare()
    await world.start_operator()
    await Minute(world, Plugin(installed, namespace)).run(reconciliations=60, seconds_between=1)
