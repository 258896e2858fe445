"""Whole runs whose service answers more than the bounds allow: `limit`, and no Cancel that was carried out has failed.

| over a bound      | Submit          | Cancel, asks for a change | Cancel, only reads |
|-------------------|-----------------|---------------------------|--------------------|
| the head          | `LimitExceeded` | by its status             | `LimitExceeded`    |
| the body          | `LimitExceeded` | by its status             | `LimitExceeded`    |
| 1xx without a 2xx | `LimitExceeded` | `LimitExceeded`           | `LimitExceeded`    |
"""

from dataclasses import replace

import pytest

from curation.execution.seam import ModuleBuild
from curation.lifecycle.outcome import Calls, Cancelled, Failed, FailureClass, Report, SessionRef, Trigger
from curation.wasm.limits import Limits
from curation.wasm.module_bytes import builtin_bytes, digest_of
from tests.guests.wat import Script
from tests.unit.egress.raw_server import RawServer, answering, raw_server
from tests.unit.execution.conftest import Rig, ended

BODY = b'{"id":"s-1"}'
ENDED = b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
OVER = {
    "bytes": b"X-Long: %b\r\n" % (b"x" * (64 << 10)),
    "headers": b"".join(b"X-%d: y\r\n" % number for number in range(513)),
}
INFORMATIONAL = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9


def over(name: str, status: int = 200) -> bytes:
    """An answer whose head is over a bound."""
    return b"HTTP/1.1 %d Said\r\n%b%b" % (status, OVER[name], ENDED)


async def run(rig: Rig, server: RawServer, trigger: Trigger, session: SessionRef | None = None) -> Report:
    """A run of the shipped module."""
    wasm = builtin_bytes("build-session-message-v1")
    request = rig.request(wasm, trigger, session=session)
    module = ModuleBuild("build-session-message", digest_of(wasm), Limits())
    config = {"api_url": f"http://127.0.0.1:{server.port}"}
    return await ended(rig.ask(replace(request, module=module, config=config, input={"message": "hi"})))


def failed(report: Report) -> Failed:
    assert isinstance(report.result, Failed), report.result
    return report.result


@pytest.mark.parametrize(
    ("name", "bound"), [("bytes", "the head of its answer is over 64 KiB"), ("headers", "over 512 headers")]
)
async def test_a_run_whose_answer_has_a_head_over_the_bound_is_over_a_limit_that_is_named(
    rig: Rig, name: str, bound: str
) -> None:
    async with raw_server(answering(over(name), close=True)) as server:
        report = await run(rig, server, Trigger.SUBMIT)
    assert failed(report).failure_class is FailureClass.LIMIT_EXCEEDED
    assert bound in failed(report).message
    assert report.calls == Calls(left=1, answered=1, allowed=1)
    assert len(server.received) == 1


@pytest.mark.parametrize("name", OVER)
async def test_a_module_that_names_no_class_of_its_own_is_over_the_limit_too(rig: Rig, name: str) -> None:
    async with raw_server(answering(over(name), close=True)) as server:
        url = f"http://127.0.0.1:{server.port}/"
        report = await rig.run(Script().call({"method": "POST", "url": url}).answer())
    assert failed(report).failure_class is FailureClass.LIMIT_EXCEEDED


@pytest.mark.parametrize("session", [None, SessionRef("s-1")], ids=["by run", "by session"])
@pytest.mark.parametrize("status", [200, 404, 409, 410])
@pytest.mark.parametrize("name", OVER)
async def test_a_cancel_that_was_carried_out_has_not_failed_for_the_head_of_its_answer(
    rig: Rig, name: str, status: int, session: SessionRef | None
) -> None:
    async with raw_server(answering(over(name, status), close=True)) as server:
        report = await run(rig, server, Trigger.CANCEL, session)
    assert report.result == Cancelled()
    assert report.calls == Calls(left=1, answered=1, allowed=1)


async def test_a_cancel_that_was_carried_out_has_not_failed_for_the_body_of_its_answer(rig: Rig) -> None:
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"
    async with raw_server(answering(large, close=True)) as server:
        report = await run(rig, server, Trigger.CANCEL)
    assert report.result == Cancelled()


@pytest.mark.parametrize("name", OVER)
async def test_a_cancel_that_the_service_failed_is_tried_again_whatever_the_head_of_its_answer(
    rig: Rig, name: str
) -> None:
    async with raw_server(answering(over(name, 503), close=True)) as server:
        report = await run(rig, server, Trigger.CANCEL)
    assert failed(report).failure_class is FailureClass.HTTP_UNAVAILABLE
    assert "answered 503" in failed(report).message


@pytest.mark.parametrize("name", OVER)
async def test_what_a_cancel_only_reads_may_not_lose_its_content(rig: Rig, name: str) -> None:
    async with raw_server(answering(over(name), close=True)) as server:
        script = Script().call({"method": "GET", "url": f"http://127.0.0.1:{server.port}/"})
        report = await rig.run(script.answer(), Trigger.CANCEL)
    assert failed(report).failure_class is FailureClass.LIMIT_EXCEEDED


@pytest.mark.parametrize("trigger", [Trigger.SUBMIT, Trigger.CANCEL])
async def test_a_service_that_only_announces_an_answer_has_given_none(rig: Rig, trigger: Trigger) -> None:
    async with raw_server(answering(INFORMATIONAL, close=True)) as server:
        report = await run(rig, server, trigger)
    assert failed(report).failure_class is FailureClass.LIMIT_EXCEEDED
    assert report.calls == Calls(left=1, answered=0, allowed=1)
