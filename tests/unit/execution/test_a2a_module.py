"""The module a2a-v1 against the server of the official A2A SDK, a process of its own, by both bindings.

Everything of the operator is real as well: executor, gate, client. `testing/agent` says what the agent does with a
message, and how it is made to fail.
"""

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from curation.api.approval import Scope
from curation.api.module import ModuleSpec
from curation.authz.grant import Grant
from curation.execution.in_process import InProcessExecutor
from curation.execution.seam import ModuleBuild
from curation.lifecycle.outcome import (
    Cancelled,
    Completed,
    Denied,
    Failed,
    FailureClass,
    Report,
    RunKey,
    SessionFailed,
    SessionRef,
    SessionSpawned,
    StillRunning,
    Trigger,
)
from curation.wasm.declared import declared_cancel
from curation.wasm.limits import Limits
from curation.wasm.module_bytes import builtin_bytes, digest_of
from curation.wasm.store import ModuleStore
from testing.agent.process import AgentProcess, agent_process
from tests.unit.execution.conftest import NAMESPACE, ROOMY, Rig, ended, until

NAME = "a2a-v1"


@pytest.fixture(scope="module")
def process() -> Iterator[AgentProcess]:
    with agent_process() as started:
        yield started


@dataclass
class Agent:
    """A run's view of the agent, by one binding."""

    rig: Rig
    process: AgentProcess
    config: dict[str, str]
    made: list[RunKey] = field(default_factory=list)

    async def run(
        self,
        trigger: Trigger,
        text: str = "work",
        *,
        run: RunKey | None = None,
        session: str | None = None,
        limits: Limits = ROOMY,
        config: dict[str, str] | None = None,
    ) -> Report:
        """One execution of the module; without a run, of a new one."""
        wasm = builtin_bytes(NAME)
        request = self.rig.request(wasm, trigger, session=None if session is None else SessionRef(session))
        number = len(self.made)
        new = RunKey("uid-1", f"{os.urandom(4).hex()}.g3.a{number}", 3, number, "v1:abc")
        self.made.append(run or new)
        request = replace(
            request,
            run=self.made[-1],
            module=ModuleBuild("a2a", digest_of(wasm), limits),
            config={**self.config, **(config or {})},
            input={"message": text},
        )
        return await ended(self.rig.ask(request))

    async def started(self, text: str = "work", **config: str) -> tuple[RunKey, str]:
        """A run that has made a task, and the task."""
        report = await self.run(Trigger.SUBMIT, text, config=config)
        assert isinstance(report.result, SessionSpawned), report
        return report.run, report.result.session.id

    async def observed(self, task: str) -> object:
        """What Observe makes of a task, once the agent has come to what it waits at or ends with."""
        while True:
            result = (await self.run(Trigger.OBSERVE, session=task)).result
            if not (
                isinstance(result, StillRunning) and result.progress in ({"state": "SUBMITTED"}, {"state": "WORKING"})
            ):
                return result

    async def observed_end(self, task: str) -> object:
        """What Observe makes of a task once it has ended."""
        while True:
            result = (await self.run(Trigger.OBSERVE, session=task)).result
            if not isinstance(result, StillRunning):
                return result

    async def cancelled(self, run: RunKey, session: str | None = None, **config: str) -> object:
        """What a Cancel ends with."""
        return (await self.run(Trigger.CANCEL, run=run, session=session, config=config)).result


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the module is kept compiled, for all tests: the compiler takes longer than they do."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(params=["JSONRPC", "HTTP+JSON"])
async def agent(
    request: pytest.FixtureRequest, rig: Rig, process: AgentProcess, compiled: Path
) -> AsyncIterator[Agent]:
    rpc = request.param == "JSONRPC"
    config = {"api_url": process.rpc} if rpc else {"api_url": process.url, "binding": "HTTP+JSON"}
    modules = ModuleStore(compiled)
    executor = InProcessExecutor(modules, rig.executor.gate, rig.executor.sender, rig.stock)
    yield Agent(replace(rig, executor=executor), process, config)
    process.control()
    await executor.drain(grace=5)
    await modules.close()


def failure(report: Report) -> tuple[FailureClass, str]:
    assert isinstance(report.result, Failed), report.result
    return report.result.failure_class, report.result.message


async def test_a_task_is_started_followed_and_completes_with_its_output(agent: Agent) -> None:
    run, task = await agent.started("work on it")
    # The run's id is the context of what it made.
    assert agent.process.tasks(run.id).keys() == {task}
    result = (await agent.run(Trigger.OBSERVE, session=task)).result
    assert isinstance(result, StillRunning)
    agent.process.control(finish=task)
    end = await agent.observed_end(task)
    assert isinstance(end, Completed)
    artifacts: Any = end.output["artifacts"]
    assert [{**each, "id": ""} for each in artifacts] == [{"id": "", "name": "result", "parts": [{"text": "done"}]}]


async def test_artifacts_of_several_parts_are_kept_but_for_the_bytes_of_files(agent: Agent) -> None:
    _, task = await agent.started("artifacts")
    result = await agent.observed(task)
    assert isinstance(result, Completed)
    data = {"rows": 7, "large": 2.0**80, "deep": [[{}]]}
    assert result.output == {
        "artifacts": [
            {
                "id": "a-1",
                "name": "report",
                "parts": [{"text": "first"}, {"text": "second"}, {"data": data, "mediaType": "application/json"}],
            },
            {
                "id": "a-2",
                "parts": [
                    {"bytes": 8, "filename": "a.bin"},
                    {"url": "https://files.example/a", "mediaType": "text/plain"},
                ],
            },
        ],
        "message": "all done",
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("fail out of budget", "out of budget"),
        ("fail", "failed and gave no reason."),
        ("reject not for me", "not for me"),
        ("reject", "was rejected by the agent and gave no reason."),
    ],
)
async def test_a_task_that_fails_or_is_rejected_fails_the_job_with_the_agents_reason(
    agent: Agent, text: str, reason: str
) -> None:
    run, task = await agent.started(text)
    result = await agent.observed(task)
    assert isinstance(result, SessionFailed)
    assert result.reason.endswith(reason)
    # It has ended, so there is nothing to cancel, by its id or by the run's.
    assert await agent.cancelled(run, task) == Cancelled()
    assert await agent.cancelled(run) == Cancelled()


@pytest.mark.parametrize(("text", "state"), [("ask which year?", "INPUT_REQUIRED"), ("auth log in", "AUTH_REQUIRED")])
async def test_a_task_that_waits_for_somebody_goes_on_shows_why_and_can_be_cancelled(
    agent: Agent, text: str, state: str
) -> None:
    run, task = await agent.started(text)
    assert await agent.observed(task) == StillRunning({"state": state, "message": text.partition(" ")[2]})
    assert await agent.cancelled(run, task) == Cancelled()
    assert agent.process.tasks(run.id) == {task: "CANCELED"}


async def test_an_agent_that_answers_with_a_message_completes_the_job_at_once(agent: Agent) -> None:
    report = await agent.run(Trigger.SUBMIT, "answer forty-two")
    assert report.result == Completed({"message": "forty-two", "parts": [{"text": "forty-two"}]})


async def test_a_cancelled_task_fails_and_a_second_cancel_is_no_error(agent: Agent) -> None:
    run, task = await agent.started()
    assert await agent.cancelled(run, task) == Cancelled()
    assert await agent.cancelled(run, task) == Cancelled()
    assert await agent.observed(task) == SessionFailed(f"The task {task} was cancelled at the agent.")


async def test_a_cancel_by_run_ends_what_a_lost_answer_told_of_and_nothing_else(agent: Agent) -> None:
    other_run, other = await agent.started()
    agent.process.control(lose=["SendMessage"])
    lost = await agent.run(Trigger.SUBMIT)
    assert failure(lost)[0] is FailureClass.HTTP_UNAVAILABLE
    (state,) = agent.process.tasks(lost.run.id).values()
    assert state in ("SUBMITTED", "WORKING")
    agent.process.control()
    assert await agent.cancelled(lost.run) == Cancelled()
    assert [*agent.process.tasks(lost.run.id).values()] == ["CANCELED"]
    assert agent.process.tasks(other_run.id)[other] in ("SUBMITTED", "WORKING")


async def test_a_slow_answer_is_a_timeout_and_its_task_is_found_by_the_run(agent: Agent) -> None:
    agent.process.control(hold=["SendMessage"])
    slow = await agent.run(Trigger.SUBMIT, limits=replace(ROOMY, wall_seconds=5))
    assert failure(slow)[0] is FailureClass.TIMEOUT
    await until(lambda: agent.process.tasks(slow.run.id) != {})
    agent.process.control()
    assert await agent.cancelled(slow.run) == Cancelled()
    assert [*agent.process.tasks(slow.run.id).values()] == ["CANCELED"]


async def test_who_approved_the_message_alone_has_approved_what_ends_its_task(agent: Agent) -> None:
    agent.rig.book.remove_policy(NAMESPACE, "p")
    denied = (await agent.run(Trigger.SUBMIT)).result
    assert isinstance(denied, Denied)
    declared = declared_cancel(ModuleSpec.model_validate({"source": {"builtin": NAME}}))
    agent.rig.book.put_grant(Grant(NAMESPACE, "approval", denied.request, Scope.REQUEST, cancel=declared))
    run, task = await agent.started()
    # Approved was one call of a Submit: what it made may be ended, but not looked at.
    assert isinstance((await agent.run(Trigger.OBSERVE, session=task)).result, Denied)
    assert await agent.cancelled(run) == Cancelled()
    assert agent.process.tasks(run.id) == {task: "CANCELED"}


async def test_a_run_that_made_nothing_is_cancelled(agent: Agent) -> None:
    agent.process.control(fail={"SendMessage": 503})
    report = await agent.run(Trigger.SUBMIT)
    assert failure(report) == (
        FailureClass.HTTP_UNAVAILABLE,
        f"the module failed: SendMessage at {report_url(agent, 'SendMessage')} answered 503: told to fail",
    )
    assert await agent.cancelled(report.run) == Cancelled()


def report_url(agent: Agent, call: str) -> str:
    return agent.config["api_url"] + ("/message:send" if "binding" in agent.config else "")


@pytest.mark.parametrize(
    ("status", "expected"),
    [(500, FailureClass.HTTP_UNAVAILABLE), (429, FailureClass.HTTP_UNAVAILABLE), (403, FailureClass.MODULE_ERROR)],
)
async def test_an_error_status_of_any_call_is_retried_only_if_it_may_pass(
    agent: Agent, status: int, expected: FailureClass
) -> None:
    run, task = await agent.started()
    agent.process.control(fail=dict.fromkeys(("SendMessage", "GetTask", "ListTasks", "CancelTask"), status))
    for report in (
        await agent.run(Trigger.SUBMIT),
        await agent.run(Trigger.OBSERVE, session=task),
        await agent.run(Trigger.CANCEL, run=run),
        await agent.run(Trigger.CANCEL, run=run, session=task),
    ):
        assert failure(report)[0] is expected, report


async def test_an_agent_that_breaks_inside_is_retried(agent: Agent) -> None:
    assert failure(await agent.run(Trigger.SUBMIT, "break x"))[0] is FailureClass.HTTP_UNAVAILABLE


@pytest.mark.parametrize(
    ("fault", "expected", "said"),
    [
        ("refuse", FailureClass.MODULE_ERROR, " failed: not now"),
        ("put_off", FailureClass.HTTP_UNAVAILABLE, " was accepted, and the task is still "),
    ],
)
async def test_a_cancel_that_leaves_a_task_at_work_is_none_until_the_task_has_ended(
    agent: Agent, fault: str, expected: FailureClass, said: str
) -> None:
    run, task = await agent.started()
    agent.process.control(**{fault: True})
    for session in (task, None):
        kind, message = failure(await agent.run(Trigger.CANCEL, run=run, session=session))
        assert kind is expected
        assert f"CancelTask of {task}{said}" in message
    agent.process.control(**{fault: True, "finish": task})
    assert isinstance(await agent.observed_end(task), Completed)
    assert await agent.cancelled(run, task) == Cancelled()
    assert await agent.cancelled(run) == Cancelled()


async def test_of_an_agent_that_cannot_list_a_lost_task_is_not_found_and_that_is_said(agent: Agent) -> None:
    run, task = await agent.started()
    agent.process.control(no_list=True)
    unknown = await agent.run(Trigger.CANCEL, run=run)
    kind, message = failure(unknown)
    assert kind is FailureClass.MODULE_ERROR
    assert f"the agent cannot list its tasks, so what run {run.id} may have started is not known" in message
    assert "set config.list_tasks to no" in message
    accepted = await agent.run(Trigger.CANCEL, run=run, config={"list_tasks": "no"})
    assert accepted.result == Cancelled()
    assert f"what run {run.id} may have started is not looked for" in accepted.log
    # A task that is known needs no list.
    assert await agent.cancelled(run, task) == Cancelled()
    agent.process.control()
    assert agent.process.tasks(run.id) == {task: "CANCELED"}


async def test_an_agent_with_contexts_of_its_own_is_searched_by_the_messages_of_the_run(agent: Agent) -> None:
    agent.process.control(own_contexts=True)
    refused = await agent.run(Trigger.SUBMIT)
    assert failure(refused)[0] is FailureClass.MODULE_ERROR
    assert "contextId is not one of this agent's" in failure(refused)[1]
    run, task = await agent.started(context_id="agent")
    _, other = await agent.started(context_id="agent")
    agent.process.control()
    # More than a page of others, all newer.
    for _ in range(60):
        agent.process.start("artifacts", "of-others")
    before = len(agent.process.calls())
    assert await agent.cancelled(run, context_id="agent") == Cancelled()
    made = agent.process.calls()[before:]
    assert made.count("ListTasks") > 1
    assert made.count("CancelTask") == 1
    assert isinstance(await agent.observed(task), SessionFailed)
    assert isinstance((await agent.run(Trigger.OBSERVE, session=other)).result, StillRunning)


@pytest.mark.parametrize("status", [404, 405, 410, 501])
async def test_that_the_agent_cannot_cancel_is_not_that_the_task_is_gone(agent: Agent, status: int) -> None:
    run, task = await agent.started()
    agent.process.control(fail={"CancelTask": status})
    for session in (task, None):
        assert isinstance((await agent.run(Trigger.CANCEL, run=run, session=session)).result, Failed)
    agent.process.control(finish=task, fail={"CancelTask": status})
    assert isinstance(await agent.observed_end(task), Completed)


@pytest.mark.parametrize("status", [405, 501])
async def test_that_the_agent_cannot_get_a_task_is_not_that_it_is_gone(agent: Agent, status: int) -> None:
    _, task = await agent.started()
    agent.process.control(fail={"GetTask": status})
    assert isinstance((await agent.run(Trigger.OBSERVE, session=task)).result, Failed)


async def test_what_is_listed_before_the_list_breaks_is_cancelled(agent: Agent) -> None:
    for _ in range(51):
        agent.process.start("artifacts", "of-others")
    run, task = await agent.started(context_id="agent")
    agent.process.control(one_page=True)
    broken = await agent.run(Trigger.CANCEL, run=run, config={"context_id": "agent"})
    assert failure(broken)[0] is FailureClass.HTTP_UNAVAILABLE
    seen = await agent.run(Trigger.OBSERVE, session=task)
    assert seen.result == SessionFailed(f"The task {task} was cancelled at the agent.")


async def test_tasks_that_are_listed_without_a_context_id_are_not_taken_for_nobodys(agent: Agent) -> None:
    run, task = await agent.started()
    agent.process.control(no_context=True)
    kind, message = failure(await agent.run(Trigger.CANCEL, run=run))
    assert kind is FailureClass.MODULE_ERROR
    assert f"ListTasks answered task {task} without a context id" in message


async def test_an_agent_that_takes_another_context_id_is_told_of(agent: Agent) -> None:
    agent.process.control(context="mine")
    report = await agent.run(Trigger.SUBMIT)
    assert isinstance(report.result, SessionSpawned)
    assert "the agent did not take the run's id as context id" in report.log
    agent.process.control()
    assert "context id" not in (await agent.run(Trigger.SUBMIT)).log


async def test_a_task_that_is_gone_fails_the_job_and_counts_as_cancelled(agent: Agent) -> None:
    result = (await agent.run(Trigger.OBSERVE, session="none/such?x")).result
    assert isinstance(result, SessionFailed)
    assert result.reason.startswith("The task none/such?x is gone: ")
    run, _ = await agent.started()
    assert await agent.cancelled(run, "none") == Cancelled()


async def test_one_run_that_is_submitted_twice_says_the_same_message_id(agent: Agent) -> None:
    run, _ = await agent.started()
    again = await agent.run(Trigger.SUBMIT, run=run)
    assert isinstance(again.result, SessionSpawned)
    # The SDK's server does not know a message again; both are of the run's context, and one Cancel ends both.
    assert await agent.cancelled(run) == Cancelled()
    assert {*agent.process.tasks(run.id).values()} == {"CANCELED"}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"api_url": ""}, "config.api_url is missing"),
        ({"api_url": "agent.example"}, "config.api_url must start with http:// or https://; found agent.example."),
        ({"api_url": "http://a/?x"}, "config.api_url must be a URL without blanks, a query (?) or a fragment (#)"),
        ({"binding": "GRPC"}, "config.binding must be JSONRPC or HTTP+JSON; found GRPC."),
        ({"context_id": "x"}, "config.context_id must be run or agent; found x."),
        ({"list_tasks": "x"}, "config.list_tasks must be yes or no; found x."),
    ],
)
async def test_a_bad_configuration_is_told_by_its_key(agent: Agent, config: dict[str, str], said: str) -> None:
    report = await agent.run(Trigger.SUBMIT, config=config)
    assert failure(report)[0] is FailureClass.MODULE_ERROR
    assert said in failure(report)[1]
    assert report.calls.left == 0


async def test_what_is_no_agent_is_told_so(agent: Agent) -> None:
    # The peer answers every path with {"id": "s-1"}, as some other JSON service would.
    report = await agent.run(Trigger.SUBMIT, config={"api_url": agent.rig.peer.url("/a2a")})
    assert failure(report)[0] is FailureClass.MODULE_ERROR
