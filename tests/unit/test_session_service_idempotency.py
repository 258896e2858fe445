"""`Idempotency-Key` at the session service: the same answer, no second session.

Matrix: a repeat after the answer, after a lost answer, while the first is slow, after the first failed before its
work; another body; another method; no key.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from testing.sessions import SessionService

KEY = "uid-1.g1.a1/1"


@pytest.fixture
async def service() -> AsyncIterator[SessionService]:
    async with SessionService() as service:
        yield service


@pytest.fixture
async def http(service: SessionService) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(service.url) as http:
        yield http


async def create(http: aiohttp.ClientSession, key: str | None = KEY, name: str = "a") -> tuple[int, Any]:
    headers = {"Curation-Run-Id": "uid-1.g1.a1"} | ({"Idempotency-Key": key} if key else {})
    async with http.post("/workspaces", json={"name": name}, headers=headers) as answer:
        return answer.status, await answer.json()


async def test_a_repeated_key_gets_the_same_answer_and_makes_nothing_new(
    service: SessionService, http: aiohttp.ClientSession
) -> None:
    first = await create(http)
    assert await create(http) == first
    assert len(service.live_workspaces()) == 1
    assert [(e.performed, e.replayed, e.idempotency_key) for e in service.log()] == [
        (True, False, KEY),
        (False, True, KEY),
    ]


async def test_without_a_key_each_call_makes_its_own(service: SessionService, http: aiohttp.ClientSession) -> None:
    assert (await create(http, None))[1]["id"] != (await create(http, None))[1]["id"]
    assert len(service.live_workspaces()) == 2


async def test_a_refusal_is_repeated_too(service: SessionService, http: aiohttp.ClientSession) -> None:
    async with http.post("/runs/uid-1.g1.a1/cancel"):
        pass
    assert (await create(http))[0] == 410
    assert (await create(http))[0] == 410
    assert [entry.performed for entry in service.log()] == [True, True, False]


async def test_the_same_key_with_another_body_answers_422(service: SessionService, http: aiohttp.ClientSession) -> None:
    await create(http)
    status, answer = await create(http, name="b")
    assert status == 422
    assert KEY in answer["error"]["message"]
    assert len(service.live_workspaces()) == 1


async def test_the_same_key_on_another_path_answers_422(service: SessionService, http: aiohttp.ClientSession) -> None:
    await create(http)
    async with http.post("/runs/x/cancel", json={"name": "a"}, headers={"Idempotency-Key": KEY}) as answer:
        assert answer.status == 422
    assert len(service.live_workspaces()) == 1


async def test_after_a_lost_answer_the_repeat_finds_what_was_made(
    service: SessionService, http: aiohttp.ClientSession
) -> None:
    service.add_rule("drop", "after", times=1)
    with pytest.raises(aiohttp.ClientConnectionError):
        await create(http)
    [made] = service.live_workspaces()
    status, answer = await create(http)
    assert (status, answer["id"]) == (201, made)
    assert service.live_workspaces() == [made]


async def test_a_duplicate_waits_for_a_first_that_is_slow_before_its_work(
    service: SessionService, http: aiohttp.ClientSession
) -> None:
    rule = service.add_rule("hold", times=1)
    first = asyncio.create_task(create(http))
    await service.wait_held(rule)
    second = asyncio.create_task(create(http))
    await service.wait_until(lambda: len(service.log()) == 2)
    # A call without the key goes through both ways meanwhile: the duplicate had every chance to answer.
    await create(http, None)
    assert not second.done()
    rule.release()
    assert await first == await second
    assert len(service.live_workspaces()) == 2


async def test_a_duplicate_does_not_wait_for_the_answer_of_a_first_whose_work_is_done(
    service: SessionService, http: aiohttp.ClientSession
) -> None:
    rule = service.add_rule("hold", "after", times=1)
    first = asyncio.create_task(create(http))
    await service.wait_held(rule)
    second = await create(http)
    assert not first.done()
    rule.release()
    assert await first == second


async def test_a_duplicate_does_the_work_when_the_first_failed_before_it(
    service: SessionService, http: aiohttp.ClientSession
) -> None:
    service.add_rule("fail", times=1)
    assert (await create(http))[0] == 503
    assert (await create(http))[0] == 201
    assert len(service.live_workspaces()) == 1


async def test_a_waiting_duplicate_takes_over_when_the_slow_first_fails_before_its_work() -> None:
    passed = asyncio.Event()

    async def sleep(_: float) -> None:
        await passed.wait()

    async with SessionService(sleep=sleep) as service, aiohttp.ClientSession(service.url) as http:
        service.add_rule("fail", seconds=300, times=1)
        first = asyncio.create_task(create(http))
        await service.wait_until(lambda: len(service.log()) == 1)
        second = asyncio.create_task(create(http))
        await service.wait_until(lambda: len(service.log()) == 2)
        passed.set()
        assert (await second)[0] == 201
        assert (await first)[0] == 503
        slow, waiting = service.log()
        assert (slow.performed, waiting.performed) == (False, True)
        assert len(service.live_workspaces()) == 1


async def test_eight_calls_at_once_with_one_key_do_the_work_once(
    service: SessionService, http: aiohttp.ClientSession
) -> None:
    rule = service.add_rule("hold")
    calls = [asyncio.create_task(create(http)) for _ in range(8)]
    await service.wait_held(rule, 8)
    rule.release()
    assert len({answer["id"] for _, answer in await asyncio.gather(*calls)}) == 1
    assert len(service.live_workspaces()) == 1
    assert sum(entry.performed for entry in service.log()) == 1


async def test_a_get_takes_no_notice_of_a_key(service: SessionService, http: aiohttp.ClientSession) -> None:
    for expected in (0, 1):
        async with http.get("/sessions", headers={"Idempotency-Key": KEY}) as answer:
            assert len(await answer.json()) == expected
        workspace = (await create(http, None))[1]["id"]
        async with http.post("/sessions", json={"workspace": workspace, "message": "m"}):
            pass
    assert len(service.sessions()) == 2
