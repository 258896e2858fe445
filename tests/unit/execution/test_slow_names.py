"""Names that are slow to resolve: getaddrinfo cannot be interrupted, and yet they cost their own namespace only."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from curation.egress.client import EgressClient
from curation.egress.floor import AddressFloor
from curation.execution.in_process import InProcessExecutor
from curation.lifecycle.outcome import Completed, Failed, FailureClass, Report
from curation.wasm.limits import Limits
from tests.guests.wat import Script
from tests.unit.execution.conftest import GENEROUS, PERMIT, Heard, Rig, ended, until

DONE = {"action": "Completed", "output": {}}
BRIEF = Limits(wall_seconds=0.5)
OVER_ANY_POOL = min(32, (os.cpu_count() or 1) + 4) + 1
"""More look-ups than asyncio's default executor has threads."""


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Answers with the loopback address; for names under slow.test only once it is set."""
    go_on = threading.Event()
    real = socket.getaddrinfo

    def answering(host: Any, *arguments: Any, **named: Any) -> Any:
        if str(host).endswith(".slow.test."):
            go_on.wait(GENEROUS)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return real("127.0.0.1" if str(host).endswith(".test.") else host, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", answering)
    yield go_on
    go_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("look-up"):
            thread.join(GENEROUS)


@pytest.fixture
async def system(rig: Rig, dns: threading.Event) -> AsyncIterator[Rig]:
    """A rig that asks the system for addresses."""
    client = EgressClient(AddressFloor([ip_network("127.0.0.0/8")]))
    executor = InProcessExecutor(rig.modules, rig.executor.gate, client, rig.stock)
    yield replace(rig, client=client, executor=executor)
    await executor.drain(grace=1)
    await client.close()


def module(rig: Rig, host: str) -> bytes:
    script = Script().call({"method": "GET", "url": rig.peer.url("/", host=host)}).log_answer()
    return script.answer() if host.endswith("slow.test") else script.ok(DONE)


def begun(rig: Rig, host: str, limits: Limits = BRIEF, namespace: str | None = None) -> Heard:
    request = rig.request(module(rig, host), limits=limits)
    if namespace is not None:
        rig.book.put_policy(namespace, "p", PERMIT)
        request = replace(request, namespace=namespace)
    return rig.ask(request)


async def ask(rig: Rig, host: str, limits: Limits = BRIEF, namespace: str | None = None) -> Report:
    return await ended(begun(rig, host, limits, namespace))


async def slow_names(rig: Rig, number: int) -> list[str]:
    names = [f"h{n}.slow.test" for n in range(number)]
    for name in names:  # one compilation after another, before the clock of the runs begins
        await rig.modules.load_bytes(module(rig, name))
    return names


async def ask_for_slow_names(rig: Rig, number: int) -> list[Report]:
    return await asyncio.gather(*(ask(rig, name) for name in await slow_names(rig, number)))


def look_ups() -> int:
    return sum(thread.name.startswith("look-up") for thread in threading.enumerate())


async def test_slow_names_of_ended_runs_do_not_hold_up_another_namespace(system: Rig) -> None:
    for report in await ask_for_slow_names(system, OVER_ANY_POOL):
        assert isinstance(report.result, Failed)
        assert report.result.failure_class is FailureClass.TIMEOUT
    report = await ask(system, "good.test", Limits(wall_seconds=5), namespace="another")
    assert report.result == Completed({})


async def test_slow_names_of_ended_runs_do_not_hold_up_the_stop(system: Rig) -> None:
    await ask_for_slow_names(system, OVER_ANY_POOL)
    started = time.perf_counter()
    await asyncio.wait_for(system.executor.drain(grace=1), GENEROUS / 4)
    await asyncio.wait_for(system.client.close(), GENEROUS / 4)
    assert time.perf_counter() - started < 5


async def test_a_pool_that_others_have_filled_does_not_hold_up_the_stop(rig: Rig) -> None:
    go_on = threading.Event()
    for _ in range(OVER_ANY_POOL):
        asyncio.get_running_loop().run_in_executor(None, go_on.wait, GENEROUS)
    try:
        await asyncio.wait_for(rig.executor.drain(grace=1), 5)
    finally:
        go_on.set()


async def test_a_namespace_with_too_many_slow_names_gets_no_further_look_up_until_some_have_ended(
    system: Rig, dns: threading.Event
) -> None:
    patient = Limits(wall_seconds=GENEROUS)
    names = await slow_names(system, 40)
    waiting = [begun(system, name, patient) for name in names[:32]]
    await until(lambda: look_ups() == 32)
    for name in names[32:]:
        report = await ask(system, name, patient)
        assert "too many of the namespace's names are slow to resolve" in report.log
        assert isinstance(report.result, Failed)
        assert report.result.failure_class is FailureClass.HTTP_UNAVAILABLE
    for execution in waiting:
        execution.stop("it is ended")
        await ended(execution)
    # What they asked for is not ended by that.
    assert "slow to resolve" in (await ask(system, "good.test", patient)).log
    assert '"status":200' in (await ask(system, "good.test", patient, namespace="another")).log
    dns.set()
    await until(lambda: not look_ups())
    assert '"status":200' in (await ask(system, "good2.test", patient)).log
