"""The session service's faults: hold, delay, fail, drop and malformed, before and after the work.

Matrix: action x when; which calls a rule takes; releasing; a late create and the tombstone; control over HTTP.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from testing.sessions import SessionService

RUN = "uid-1.g1.a1"


def headers(run: str = RUN) -> dict[str, str]:
    uid, generation, attempt = run.split(".")
    return {
        "Curation-Run-Id": f"{uid}.{generation}.{attempt}",
        "Curation-Generation": generation[1:],
        "Curation-Attempt": attempt[1:],
        "Curation-Trigger": "Submit",
    }


@pytest.fixture
async def service() -> AsyncIterator[SessionService]:
    async with SessionService() as service:
        yield service


@pytest.fixture
async def http(service: SessionService) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(service.url) as http:
        yield http


async def workspace(http: aiohttp.ClientSession, run: str = RUN) -> tuple[int, Any]:
    async with http.post("/workspaces", json={}, headers=headers(run)) as answer:
        return answer.status, await answer.json()


async def test_a_call_held_before_the_work_has_done_nothing_until_it_is_released(
    service: SessionService, http: aiohttp.ClientSession
) -> None:
    rule = service.add_rule("hold", path="/workspaces")
    call = asyncio.create_task(workspace(http))
    await service.wait_held(rule)
    assert service.live_workspaces() == []
    [entry] = service.log()
    assert (entry.status, entry.answered, entry.performed) == (None, None, False)
    assert rule.release() == 1
    assert (await call)[0] == 201
    assert len(service.live_workspaces()) == 1
    assert (entry.status, entry.performed) == (201, True)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_held_call_fails_when_it_is_released_if_its_rule_says_so(
    service: SessionService, http: aiohttp.ClientSession, when: Any
) -> None:
    failing = service.add_rule("hold", when, path="/workspaces", then="fail", times=1)
    dropping = service.add_rule("hold", when, path="/workspaces", then="drop", times=1)
    calls = [asyncio.create_task(workspace(http)) for _ in range(2)]
    await service.wait_held(failing)
    await service.wait_held(dropping)
    failing.release()
    dropping.release()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(end, aiohttp.ServerDisconnectedError) for end in ends) == 1
    assert [end[0] for end in ends if isinstance(end, tuple)] == [503]
    assert len(service.live_workspaces()) == (2 if when == "after" else 0)


async def test_what_follows_a_hold_is_refused_of_any_other_action(http: aiohttp.ClientSession) -> None:
    async with http.post("/control/rules", json={"action": "drop", "then": "fail"}) as answer:
        assert answer.status == 422
        assert "what follows a hold" in await answer.text()


async def test_a_call_held_after_the_work_has_done_it_and_its_answer_waits(
    service: SessionService, http: aiohttp.ClientSession
) -> None:
    rule = service.add_rule("hold", "after", path="/workspaces")
    call = asyncio.create_task(workspace(http))
    await service.wait_held(rule)
    [made] = service.live_workspaces()
    [entry] = service.log()
    assert (entry.answered, entry.performed) == (None, True)
    assert not call.done()
    rule.release()
    assert (await call)[1]["id"] == made


async def test_a_create_that_was_slow_and_lands_after_the_cancel_of_its_run_answers_410(
    service: SessionService, http: aiohttp.ClientSession
) -> None:
    rule = service.add_rule("hold", run=RUN, method="POST", path="/workspaces")
    call = asyncio.create_task(workspace(http))
    await service.wait_held(rule)
    async with http.post(f"/runs/{RUN}/cancel", json={}) as answer:
        assert answer.status == 200
    rule.release()
    assert (await call)[0] == 410
    assert service.live_workspaces() == []


async def test_the_work_of_a_client_that_went_away_is_done_all_the_same(service: SessionService) -> None:
    rule = service.add_rule("hold", path="/workspaces")
    async with aiohttp.ClientSession(service.url) as doomed:
        call = asyncio.create_task(workspace(doomed))
        await service.wait_held(rule)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    rule.release()
    await service.wait_until(lambda: len(service.live_workspaces()) == 1, what="the work to be done")


async def test_some_held_calls_are_released_oldest_first_and_the_rule_stays(
    service: SessionService, http: aiohttp.ClientSession
) -> None:
    rule = service.add_rule("hold", path="/workspaces")
    calls = []
    for number in range(3):
        calls.append(asyncio.create_task(workspace(http, f"uid-{number}.g1.a1")))
        await service.wait_held(rule, number + 1)
    assert rule.release(1) == 1
    assert (await calls[0])[1]["runID"] == "uid-0.g1.a1"
    assert rule.held == 2
    late = asyncio.create_task(workspace(http, "uid-9.g1.a1"))
    await service.wait_held(rule, 3)
    assert rule.release() == 3
    assert [status for status, _ in await asyncio.gather(*calls, late)] == [201] * 4
    assert (await workspace(http))[0] == 201


async def test_closing_the_service_frees_what_it_holds() -> None:
    async with aiohttp.ClientSession() as http:
        async with SessionService() as service:
            rule = service.add_rule("hold", path="/workspaces")
            call = asyncio.create_task(http.post(f"{service.url}/workspaces", json={}))
            await service.wait_held(rule)
        (await call).close()
    assert rule.held == 0


async def test_a_delayed_call_answers_when_its_seconds_have_passed_and_others_do_not_wait_for_it() -> None:
    asleep, passed = [], asyncio.Event()

    async def sleep(seconds: float) -> None:
        asleep.append(seconds)
        await passed.wait()

    async with SessionService(sleep=sleep) as service, aiohttp.ClientSession(service.url) as http:
        rule = service.add_rule("delay", path="/workspaces", seconds=300, times=1)
        slow = asyncio.create_task(workspace(http))
        await service.wait_until(lambda: rule.hits == 1)
        assert (await workspace(http))[0] == 201
        first, second = service.log()
        assert (first.status, second.status) == (None, 201)
        assert not slow.done()
        passed.set()
        assert (await slow)[0] == 201
        assert asleep == [300]


@pytest.mark.parametrize(("when", "made"), [("before", 0), ("after", 1)])
async def test_a_failing_call_answers_the_status_with_and_without_the_work(
    service: SessionService, http: aiohttp.ClientSession, when: Any, made: int
) -> None:
    service.add_rule("fail", when, path="/workspaces", status=502, times=1)
    assert (await workspace(http))[0] == 502
    assert len(service.live_workspaces()) == made
    assert (await workspace(http))[0] == 201


@pytest.mark.parametrize(("when", "made"), [("before", 0), ("after", 1)])
async def test_a_dropped_call_gets_no_answer_with_and_without_the_work(
    service: SessionService, http: aiohttp.ClientSession, when: Any, made: int
) -> None:
    service.add_rule("drop", when, path="/workspaces", times=1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await workspace(http)
    assert len(service.live_workspaces()) == made
    [entry] = service.log()
    assert (entry.status, entry.dropped, entry.performed) == (None, True, bool(made))
    assert (await workspace(http))[0] == 201


async def test_a_malformed_answer_is_a_success_that_is_not_json(
    service: SessionService, http: aiohttp.ClientSession
) -> None:
    service.add_rule("malformed", path="/workspaces")
    async with http.post("/workspaces", json={}) as answer:
        assert answer.status == 201
        with pytest.raises(ValueError, match="Unterminated"):
            await answer.json()
    assert len(service.live_workspaces()) == 1


@pytest.mark.parametrize(
    ("fields", "hits"),
    [
        ({}, 1),
        ({"method": "post"}, 1),
        ({"method": "GET"}, 0),
        ({"path": "/workspaces"}, 1),
        ({"path": "/work*"}, 1),
        ({"path": "/**"}, 1),
        ({"path": "/*/cancel"}, 0),
        ({"path": "/"}, 0),
        ({"run": RUN}, 1),
        ({"run": "uid-1.*"}, 1),
        ({"run": "uid-2*"}, 0),
        ({"job": "uid-1"}, 1),
        ({"job": "uid"}, 0),
        ({"generation": 1, "attempt": 1, "trigger": "Submit"}, 1),
        ({"generation": 2}, 0),
        ({"attempt": 2}, 0),
        ({"trigger": "Cancel"}, 0),
    ],
)
async def test_a_rule_takes_only_the_calls_it_is_for(
    service: SessionService, http: aiohttp.ClientSession, fields: dict[str, Any], hits: int
) -> None:
    rule = service.add_rule("fail", **fields)
    assert (await workspace(http))[0] == (503 if hits else 201)
    assert rule.hits == hits


async def test_a_star_stays_within_a_segment_of_the_path(service: SessionService, http: aiohttp.ClientSession) -> None:
    rule = service.add_rule("fail", path="/sessions/*")
    async with http.post("/sessions/x/cancel") as answer:
        assert answer.status == 404
    async with http.get("/sessions/x") as answer:
        assert answer.status == 503
    assert rule.hits == 1


async def test_the_first_rule_that_fits_wins_until_it_is_used_up(
    service: SessionService, http: aiohttp.ClientSession
) -> None:
    service.add_rule("fail", status=500, times=2)
    second = service.add_rule("fail", status=502)
    assert [(await workspace(http))[0] for _ in range(3)] == [500, 500, 502]
    service.remove_rule(second)
    assert (await workspace(http))[0] == 201


async def test_faults_are_controlled_over_http(service: SessionService, http: aiohttp.ClientSession) -> None:
    asked = {"action": "hold", "when": "after", "path": "/workspaces", "generation": 1}
    async with http.post("/control/rules", json=asked) as answer:
        assert answer.status == 201
        rule = await answer.json()
    path = f"/control/rules/{rule['id']}"
    waiting = asyncio.create_task(http.get(path, params={"held": 2, "seconds": 30}))
    calls = [asyncio.create_task(workspace(http, f"uid-{n}.g1.a1")) for n in range(2)]
    async with await waiting as answer:
        assert (answer.status, (await answer.json())["held"]) == (200, 2)
    async with http.get("/control/rules") as answer:
        [shown] = await answer.json()
    assert shown == {**rule, "hits": 2, "held": 2}
    async with http.post(f"{path}/release", json={"count": 1}) as answer:
        assert (await answer.json())["released"] == 1
    async with http.delete(path) as answer:
        assert answer.status == 200
    assert [status for status, _ in await asyncio.gather(*calls)] == [201, 201]
    async with http.get(path) as answer:
        assert answer.status == 404
    assert [entry.path for entry in service.log()] == ["/workspaces", "/workspaces"]


async def test_waiting_for_a_hold_that_does_not_come_answers_504(
    service: SessionService, http: aiohttp.ClientSession
) -> None:
    rule = service.add_rule("hold")
    async with http.get(f"/control/rules/{rule.id}", params={"held": 1, "seconds": "0.01"}) as answer:
        assert answer.status == 504
        assert rule.id in (await answer.json())["error"]["message"]
    with pytest.raises(TimeoutError, match=f"{rule.id} to hold 1"):
        await service.wait_held(rule, seconds=0.01)


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ({"action": "explode"}, "action"),
        ({"action": "delay"}, "seconds"),
        ({"action": "fail", "status": 200}, "status"),
        ({"action": "hold", "times": 0}, "times"),
        ({"action": "hold", "pth": "/x"}, "pth"),
        ({}, "action"),
    ],
)
async def test_a_bad_rule_is_refused_naming_the_field(http: aiohttp.ClientSession, rule: Any, named: str) -> None:
    async with http.post("/control/rules", json=rule) as answer:
        assert answer.status == 422
        assert named in (await answer.json())["error"]["message"]
