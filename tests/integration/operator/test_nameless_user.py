"""The user of the image is a number, as any user of a pod may be: it has no name in /etc/passwd."""

import shutil
import subprocess

import pytest

from testing.operator_process import PROGRAM
from tests.harness.world import World


@pytest.fixture
def nameless() -> tuple[str, ...]:
    """Runs a program as user 65532, who may do to files what the tests' own user may."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("util-linux is needed to run a program as another user")
    command = (unshare, "--user", "--map-user=65532", "--map-group=65532")
    tried = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this machine lets its users make no user namespace: {tried.stderr.strip()}")
    return command


async def test_it_runs_jobs_as_a_user_without_a_name(world: World, nameless: tuple[str, ...]) -> None:
    await world.prepare()
    # getpass takes a name from these before it asks for the number's.
    without = [word for name in ("USER", "LOGNAME", "LNAME", "USERNAME") for word in ("-u", name)]
    operator = world.operator(command=("/usr/bin/env", *without, *nameless, str(PROGRAM)))
    await operator.start()
    await world.create_jobs(1)
    await world.until_phase("Running")
    await world.settled()
