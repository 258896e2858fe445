"""The builtin a2a-v1 in an operator, against the server of the official A2A SDK: a job's life with an agent."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from testing.agent.process import AgentProcess, agent_process
from tests.harness import manifests
from tests.harness.world import JOBS, World


@pytest.fixture(scope="module")
def agent() -> Iterator[AgentProcess]:
    with agent_process() as started:
        yield started


async def prepare(world: World, agent: AgentProcess, text: str, *, wall_seconds: int = 600) -> None:
    spec = {"source": {"builtin": "a2a-v1"}, "limits": {"wallSeconds": wall_seconds}}
    module = {**manifests.module(), "metadata": {"name": "a2a"}, "spec": spec}
    await world.cluster.create(module)
    await world.cluster.create(manifests.policy())
    await world.start_operator()
    await world.create_job(
        moduleRef={"name": "a2a"},
        config={"api_url": agent.rpc},
        input={"message": text},
        observeIntervalSeconds=1,
    )


def tasks(world: World, agent: AgentProcess, attempt: int) -> list[str]:
    """The states of what an attempt of the job has made."""
    uid_and_generation = world.status("job-0")["run"]["id"].rpartition(".")[0]
    return [*agent.tasks(f"{uid_and_generation}.a{attempt}").values()]


async def test_an_agent_is_driven_to_its_end(world: World, agent: AgentProcess) -> None:
    await prepare(world, agent, "artifacts")
    await world.until_phase("Completed")
    output = world.status("job-0")["output"]
    assert [[*part] for part in output["artifacts"][0]["parts"]] == [["text"], ["text"], ["data", "mediaType"]]
    assert output["message"] == "all done"
    assert tasks(world, agent, 1) == ["COMPLETED"]


async def test_a_suspension_and_a_deletion_cancel_the_agents_task(world: World, agent: AgentProcess) -> None:
    await prepare(world, agent, "work")
    await world.until_phase("Running")
    first = world.status("job-0")["session"]["id"]
    await world.edit("job-0", suspend=True)
    await until_cancelled(world, agent, first)
    await world.edit("job-0", suspend=False)
    await world.until_phase("Running")
    second = world.status("job-0")["session"]["id"]
    assert second != first
    await world.cluster.delete(JOBS, "job-0")
    await world.until_gone("job-0")
    await until_cancelled(world, agent, second)


@pytest.mark.own_operator
async def test_a_task_whose_operator_died_before_it_knew_of_it_is_found_and_cancelled(
    world: World, agent: AgentProcess
) -> None:
    agent.control(hold=["SendMessage"])
    await prepare(world, agent, "work", wall_seconds=10)
    await world.until_phase("Submitted")
    await asyncio.to_thread(wait_for_task, world, agent)
    await world.kill_operators()
    agent.control()
    await world.start_operator()
    await world.until_phase("Running", seconds=180)
    assert world.status("job-0")["run"]["attempt"] > 1
    # The next attempt waits for no clean-up of the one before.
    await world.until(lambda: tasks(world, agent, 1) == ["CANCELED"], "what the first attempt has made is cancelled")
    assert tasks(world, agent, world.status("job-0")["run"]["attempt"]) != ["CANCELED"]


def wait_for_task(world: World, agent: AgentProcess) -> None:
    while not tasks(world, agent, 1):
        time.sleep(0.1)


async def until_cancelled(world: World, agent: AgentProcess, task: str) -> None:
    await world.until(lambda: agent.tasks().get(task) == "CANCELED", "the agent's task is cancelled")
