"""The GitOps minute: ten manifests, reconciled again and again while people and another manager edit some of them.

What each job is called says what is done to it. Run in integration with a few reconciliations, and in the gauntlet
for a minute.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable

from tests.harness.world import World
from tests.integration.cli.running import Plugin
from tests.integration.gitops.repository import (
    MANAGER,
    Repository,
    partial,
    phases,
    resource_versions,
    run_ids,
    runs_with_sessions,
)

ONE_RUN = ["g1.a1"]
STEADY = ["Submitted", "Running"]

# name: what Git says of it beyond its module, input and config.
IN_GIT: dict[str, dict[str, object]] = {
    "untouched": {},
    "labelled": {},
    "rerun-in-git": {"rerun": "1"},
    "rerun-by-hand": {},
    "rerun-by-force": {"rerun": "1"},
    "suspend-in-git": {"suspend": False},
    "suspend-by-hand": {},
    "taken-by-force": {"suspend": False},
    "control-of-another": {},
    "config-of-another": {},
}

# name: the runs that were asked for, the phases in between, the generation: one more for each change of the spec.
EXPECTED: dict[str, tuple[list[str], list[str], int]] = {
    "untouched": (ONE_RUN, STEADY, 1),
    "labelled": (ONE_RUN, STEADY, 1),
    "rerun-in-git": (ONE_RUN, STEADY, 1),
    "rerun-by-hand": (["g1.a1", "g2.a1"], STEADY * 2, 2),
    "rerun-by-force": (["g1.a1", "g2.a1"], STEADY * 2, 2),
    "suspend-in-git": (ONE_RUN, STEADY, 1),
    "suspend-by-hand": (["g1.a1", "g1.a2"], [*STEADY, "Queued", *STEADY], 3),
    "taken-by-force": (ONE_RUN, [*STEADY, "Queued"], 2),
    "control-of-another": (ONE_RUN, STEADY, 2),
    "config-of-another": (ONE_RUN, STEADY, 1),
}


class Minute:
    """The people and the other manager, and the answers that they get."""

    def __init__(self, world: World, plugin: Plugin) -> None:
        self._world = world
        self._plugin = plugin
        self.git = Repository(world)
        self.objections: list[tuple[str, str]] = []
        """What kubectl says at each reconciliation: whose field it does not overwrite."""

    async def run(self, reconciliations: int, seconds_between: float = 0) -> None:
        """Reconcile so many times, the edits spread over them."""
        for name, spec in IN_GIT.items():
            self.git.commit(name, **spec)
        assert (await self.git.reconcile()).returncode == 0
        await self._world.until_phase("Running", *IN_GIT)
        await self.assert_nothing_to_do()

        edits = self._edits()
        assert reconciliations >= len(edits)
        every = reconciliations // len(edits)
        for number in range(reconciliations):
            if edits and number % every == 0:
                await edits.pop(0)()
            said = (await self.git.reconcile()).stderr
            assert conflicts(said) == sorted(self.objections), said
            await asyncio.sleep(seconds_between)

        await self._world.settled()
        self.assert_all_is_as_asked_for()
        await self.assert_git_can_say_the_same()

    async def assert_nothing_to_do(self) -> None:
        """One more reconciliation makes no write, and kubectl sees nothing to change."""
        before = resource_versions(self._world)
        assert (await self.git.reconcile()).returncode == 0
        assert await self.git.diff() == ""
        jobs = await self._world.cluster.list("curationjobs")
        assert {job["metadata"]["name"]: job["metadata"]["resourceVersion"] for job in jobs} == before

    def assert_all_is_as_asked_for(self) -> None:
        """No run that nobody asked for, by the status and by the session service; no phase or field that flaps."""
        found = {
            name: (
                run_ids(self._world, name),
                phases(self._world, name),
                self._world.job(name)["metadata"]["generation"],
            )
            for name in EXPECTED
        }
        assert found == EXPECTED
        assert {name: runs_with_sessions(self._world, name) for name in EXPECTED} == {
            name: runs for name, (runs, _, _) in EXPECTED.items()
        }
        uid = self._world.job("untouched")["metadata"]["uid"]
        # Created, claimed, Running: the reconciliations made no write at all.
        assert len(self._world.jobs.versions[uid]) == 3

    async def assert_git_can_say_the_same(self) -> None:
        """Once Git says what was changed by force, nobody objects any more, and nothing happens."""
        self.git.commit("taken-by-force", suspend=True)
        self.git.commit("rerun-by-force", rerun=self._world.job("rerun-by-force")["spec"]["rerun"])
        assert (await self.git.reconcile()).returncode == 0
        await self.assert_nothing_to_do()
        self.assert_all_is_as_asked_for()

    # -- edits -------------------------------------------------------------------------------------------------------

    def _edits(self) -> list[Callable[[], Awaitable[None]]]:
        return [
            self._refused("rerun", "rerun-in-git"),
            self._by_hand("rerun", "rerun-by-hand"),
            self._refused("suspend", "suspend-in-git"),
            self._by_hand("suspend", "suspend-by-hand"),
            self._another_sets_a_control,
            self._another_wants_the_config,
            self._another_takes_suspend,
            self._a_label,
            self._by_force,
            self._by_hand("resume", "suspend-by-hand"),
        ]

    def _refused(self, verb: str, name: str) -> Callable[[], Awaitable[None]]:
        async def edit() -> None:
            said = (await asyncio.to_thread(self._plugin, verb, name, code=1)).stderr
            field = f"spec.{verb} of CurationJob {self._world.namespace}/{name}"
            assert f"{field} was applied by '{MANAGER}' (server-side apply)" in said

        return edit

    def _by_hand(self, verb: str, name: str) -> Callable[[], Awaitable[None]]:
        async def edit() -> None:
            await asyncio.to_thread(self._plugin, verb, name)
            await self._world.until(
                lambda: (
                    self._world.status(name)["observedGeneration"] == self._world.job(name)["metadata"]["generation"]
                ),
                f"the operator has seen the {verb} of {name}",
            )
            await self._world.settled()

        return edit

    async def _by_force(self) -> None:
        name = "rerun-by-force"
        said = (await asyncio.to_thread(self._plugin, "rerun", name, "--force")).stderr
        assert f"was applied by '{MANAGER}' (server-side apply): the next apply of that manifest sets it back" in said
        self.objections.append(("curation", ".spec.rerun"))

    async def _another_sets_a_control(self) -> None:
        answer = await self.git.apply_as("team", partial("control-of-another", timeouts={"runningSeconds": 3600}))
        assert answer.returncode == 0, answer.stderr

    async def _another_wants_the_config(self) -> None:
        answer = await self.git.apply_as("team", partial("config-of-another", config={"api_url": "http://127.0.0.2"}))
        assert answer.returncode == 1
        assert conflicts(answer.stderr) == [(MANAGER, ".spec.config")]

    async def _another_takes_suspend(self) -> None:
        answer = await self.git.apply_as("team", partial("taken-by-force", suspend=True), "--force-conflicts")
        assert answer.returncode == 0, answer.stderr
        self.objections.append(("team", ".spec.suspend"))

    async def _a_label(self) -> None:
        answer = await self.git.kubectl("label", "cjob", "labelled", "team=green")
        assert answer.returncode == 0, answer.stderr


def conflicts(said: str) -> list[tuple[str, str]]:
    """The fields that kubectl left alone, and whose they are."""
    return sorted(re.findall(r'conflict with "([^"]+)"[^\n]*: (\.[\w.]+)', said))
