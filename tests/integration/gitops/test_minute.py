"""Ten manifests under reconciliation; `tests/gauntlet/test_gitops_minute.py` does it for a minute."""

from tests.harness.world import World
from tests.integration.cli.running import Plugin
from tests.integration.gitops.minute import Minute


async def test_jobs_that_are_reconciled_and_edited_all_the_time_run_as_often_as_they_were_asked_to(
    world: World, plugin: Plugin
) -> None:
    await world.prepare()
    await world.start_operator()
    await Minute(world, plugin).run(reconciliations=10)
