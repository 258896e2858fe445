"""`modules/template`, copied and built as its user does, in the real executor against the real session service.

| trigger | matrix                                                                              |
|---------|-------------------------------------------------------------------------------------|
| Submit  | once, twice for one run, after its answer was lost, after its Cancel                |
| Observe | each state of a session, what is no object, a session that the service forgot       |
| Cancel  | with and without a session, twice, of a run that has created nothing                |
| errors  | each way to fail: whether the class, and with it the retry, is the right one        |
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from curation.cli.operator import main
from curation.lifecycle.outcome import (
    Calls,
    Cancelled,
    Completed,
    Denied,
    Failed,
    FailureClass,
    Report,
    SessionFailed,
    SessionRef,
    SessionSpawned,
    StillRunning,
    Trigger,
)
from curation.wasm.limits import Limits
from curation.wasm.module_bytes import CONFIG_MAP_BYTES
from testing.sessions import SessionService
from tests.unit.egress.raw_server import answering, raw_server
from tests.unit.execution.conftest import NAMESPACE, ROOMY, Rig, ended


@dataclass
class Template:
    """The built module with a session service; its runs are of one job."""

    rig: Rig
    wasm: bytes
    service: SessionService

    async def run(
        self,
        trigger: Trigger = Trigger.SUBMIT,
        *,
        attempt: int = 1,
        session: SessionRef | None = None,
        limits: Limits = ROOMY,
        **changes: Any,
    ) -> Report:
        plain = self.rig.request(self.wasm, trigger, session=session, limits=limits)
        run = replace(plain.run, id=f"uid-1.g3.a{attempt}", attempt=attempt)
        given = {"config": {"api_url": f"{self.service.url}/"}, "input": {"message": "clean it"}, **changes}
        return await ended(self.rig.ask(replace(plain, run=run, **given)))

    async def spawned(self) -> SessionRef:
        report = await self.run()
        assert isinstance(report.result, SessionSpawned), report
        return report.result.session

    async def observed(self, session: SessionRef) -> object:
        return (await self.run(Trigger.OBSERVE, session=session)).result


@pytest.fixture
async def template(rig: Rig, template_module: bytes) -> AsyncIterator[Template]:
    async with SessionService() as service:
        yield Template(rig, template_module, service)


def failed(report: Report) -> Failed:
    assert isinstance(report.result, Failed), report.result
    return report.result


def test_the_operator_says_that_it_fits_and_a_config_map_can_hold_it(template_module: bytes, tmp_path: Path) -> None:
    file = tmp_path / "my-module.wasm"
    file.write_bytes(template_module)
    done = CliRunner().invoke(main, ["check", str(file)])
    assert (done.exit_code, done.stderr) == (0, "")
    assert "fits the module contract" in done.stdout
    assert len(template_module) < CONFIG_MAP_BYTES // 4


async def test_submit_starts_one_session_for_the_run(template: Template) -> None:
    report = await template.run()
    [session] = template.service.live_sessions(run=report.run.id)
    assert report.result == SessionSpawned(SessionRef(session.id, f"{template.service.url}/sessions/{session.id}"))
    assert (session.title, session.message) == (f"{NAMESPACE}/job-1", "clean it")
    assert report.log == f"info: started session {session.id} of run {report.run.id}"
    assert report.calls == Calls(left=2, answered=2, allowed=2)


async def test_a_second_submit_of_the_same_run_finds_what_the_first_has_created(template: Template) -> None:
    first = await template.spawned()
    assert await template.spawned() == first
    assert len(template.service.sessions()) == 1
    assert len(template.service.live_workspaces()) == 1


async def test_a_session_whose_answer_was_lost_is_ended_by_the_run_id_alone(template: Template) -> None:
    rule = template.service.add_rule("drop", "after", path="/sessions")
    lost = await template.run()
    template.service.remove_rule(rule)
    assert failed(lost).failure_class is FailureClass.HTTP_UNAVAILABLE
    assert len(template.service.live_sessions()) == 1
    assert (await template.run(Trigger.CANCEL, input={})).result == Cancelled()
    assert template.service.live_sessions() == []
    assert template.service.live_workspaces() == []


async def test_cancel_leaves_nothing_of_its_run_and_all_of_another(template: Template) -> None:
    session = await template.spawned()
    await template.run(attempt=2)
    for _ in range(2):
        assert (await template.run(Trigger.CANCEL, session=session, input={})).result == Cancelled()
    assert [left.caller.attempt for left in template.service.live_sessions()] == [2]


async def test_after_the_cancel_of_a_run_that_created_nothing_its_submit_is_refused(template: Template) -> None:
    assert (await template.run(Trigger.CANCEL, input={})).result == Cancelled()
    late = failed(await template.run())
    assert late.failure_class is FailureClass.MODULE_ERROR
    assert "/workspaces answered 410" in late.message
    assert template.service.live_workspaces() == []


async def test_observe_reports_the_progress_of_a_live_session(template: Template) -> None:
    session = await template.spawned()
    assert await template.observed(session) == StillRunning(None)
    template.service.report(session.id, {"step": 2})
    assert await template.observed(session) == StillRunning({"step": 2})
    template.service.report(session.id, [1, 2])
    assert await template.observed(session) == StillRunning({"result": [1, 2]})
    assert [entry.method for entry in template.service.log() if entry.caller.trigger == "Observe"] == ["GET"] * 3


async def test_observe_reports_how_a_session_ended(template: Template) -> None:
    done, bare, failed_, silent, cancelled = [
        SessionRef((await template.run(attempt=n)).result.session.id)  # type: ignore[union-attr]
        for n in range(1, 6)
    ]
    template.service.complete(done.id, {"rows": 7})
    template.service.complete(bare.id)
    template.service.fail(failed_.id, "out of budget")
    template.service.fail(silent.id)
    template.service.cancel(cancelled.id)
    assert [await template.observed(each) for each in (done, bare, failed_, silent, cancelled)] == [
        Completed({"rows": 7}),
        Completed({}),
        SessionFailed("out of budget"),
        SessionFailed("the session failed"),
        SessionFailed("the session was cancelled at the service"),
    ]


@pytest.mark.parametrize("name", ["session-none", "a/b?c=d"])
async def test_a_session_that_the_service_does_not_know_has_failed(template: Template, name: str) -> None:
    assert await template.observed(SessionRef(name)) == SessionFailed(f"the service knows no session {name}")


@pytest.mark.parametrize(
    ("status", "failure_class"),
    [
        (408, FailureClass.HTTP_UNAVAILABLE),
        (429, FailureClass.HTTP_UNAVAILABLE),
        (503, FailureClass.HTTP_UNAVAILABLE),
        (400, FailureClass.MODULE_ERROR),
        (403, FailureClass.MODULE_ERROR),
    ],
)
@pytest.mark.parametrize("trigger", list(Trigger))
async def test_only_an_answer_that_may_be_another_one_later_is_tried_again(
    template: Template, trigger: Trigger, status: int, failure_class: FailureClass
) -> None:
    template.service.add_rule("fail", status=status)
    report = failed(await template.run(trigger, session=SessionRef("s-1")))
    assert report.failure_class is failure_class
    assert f" answered {status}: " in report.message


async def test_an_answer_that_is_no_json_is_an_error_that_names_the_call(template: Template) -> None:
    template.service.add_rule("malformed", path="/sessions")
    report = await template.run()
    assert failed(report).failure_class is FailureClass.MODULE_ERROR
    assert f"POST {template.service.url}/sessions answered" in failed(report).message
    assert "another body than expected" in report.log


async def test_a_service_that_is_gone_is_tried_again(template: Template) -> None:
    async with SessionService() as gone:
        pass
    report = failed(await template.run(config={"api_url": gone.url}))
    assert report.failure_class is FailureClass.HTTP_UNAVAILABLE


async def test_a_run_whose_call_is_denied_is_denied(template: Template) -> None:
    template.rig.book.remove_policy(NAMESPACE, "p")
    report = await template.run()
    assert isinstance(report.result, Denied)
    assert report.result.request.path == "/workspaces"
    assert template.service.log() == []


async def test_an_address_that_no_policy_can_allow_and_a_limit_are_named_as_such(template: Template) -> None:
    refused = failed(await template.run(config={"api_url": "http://169.254.169.254"}))
    assert refused.failure_class is FailureClass.EGRESS_REFUSED
    limited = failed(await template.run(limits=replace(ROOMY, http_calls=1)))
    assert limited.failure_class is FailureClass.LIMIT_EXCEEDED
    assert "httpCalls" in limited.message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": {}}, "config.api_url is missing: set it in spec.config of the job or of the module"),
        ({"config": {"api_url": ""}}, "config.api_url is missing"),
        ({"config": {"api_url": "http://x/?a=b"}}, "config.api_url must be a base URL alone"),
        ({"config": {"api_url": "http://x/#a"}}, "config.api_url must be a base URL alone"),
        ({"config": {"api_url": "http://x/a b"}}, "config.api_url must be a base URL alone"),
        ({"input": {}}, "input.message is missing: set it in spec.input of the job"),
        ({"input": {"message": 7}}, "input.message must be a string; found 7"),
    ],
)
async def test_bad_input_is_an_error_that_names_the_field_and_the_remedy(
    template: Template, changes: dict[str, Any], message: str
) -> None:
    report = failed(await template.run(**changes))
    assert report.failure_class is FailureClass.MODULE_ERROR
    assert message in report.message
    assert template.service.log() == []


async def test_the_text_and_the_place_of_a_panic_are_in_the_runs_log(
    template: Template, panicking_module: bytes
) -> None:
    report = await replace(template, wasm=panicking_module).run()
    assert failed(report).failure_class is FailureClass.TRAP
    assert report.log.startswith("error: panicked at src/lib.rs:")
    assert report.log.endswith("no rows in job-1")


async def test_ids_that_are_numbers_of_any_length_are_given_back_as_they_came(template: Template) -> None:
    number = "9" * 40
    body = f'{{"id":{number}}}'
    async with raw_server(
        answering(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    ) as server:
        report = await template.run(config={"api_url": f" http://127.0.0.1:{server.port}/v1/ "})
    assert report.result == SessionSpawned(SessionRef(number)), report
    assert f'"workspace":{number}}}'.encode() in server.received[1]
    assert [head[0] for head in server.heads] == ["POST /v1/workspaces HTTP/1.1", "POST /v1/sessions HTTP/1.1"]


async def test_the_shipped_limits_are_enough(template: Template) -> None:
    report = await template.run(limits=Limits())
    assert isinstance(report.result, SessionSpawned), report
