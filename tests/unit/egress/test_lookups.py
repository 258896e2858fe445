"""The system's look-ups: what aiohttp's own resolver answers, in threads that are bounded and that nobody waits for."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver

from curation.egress import lookups as lookups_module
from curation.egress.client import EgressClient, OutboundRequest
from curation.egress.errors import Unavailable
from curation.egress.floor import AddressFloor
from curation.egress.lookups import BEGUN_FOR, LookupCount, SystemResolver, TooManyLookups
from curation.egress.url import parse_url
from tests.unit.egress.raw_server import RawServer, nothing_left, raw_server

GENEROUS = 60


class Held:
    """A system whose look-ups under `slow.test` end when released; other names of .test are the loopback's."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.asked: list[str] = []
        self._real = socket.getaddrinfo

    def __call__(self, host: Any, *arguments: Any, **named: Any) -> Any:
        name = str(host).removesuffix(".")
        self.asked.append(name)
        if name.endswith("slow.test"):
            self.go_on.wait(GENEROUS)
        return self._real("127.0.0.1" if name.endswith(".test") else host, *arguments, **named)


def lookups() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("look-up")]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held()
    monkeypatch.setattr(socket, "getaddrinfo", held)
    yield held
    held.go_on.set()
    for thread in lookups():
        thread.join(GENEROUS)


async def until(condition: Callable[[], bool]) -> None:
    """Waits until something in a thread is so."""
    async with asyncio.timeout(GENEROUS):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.001)


async def begun(held: Held, resolver: SystemResolver, host: str, namespace: str = "a") -> asyncio.Task[Any]:
    """A look-up that the system is busy with."""
    BEGUN_FOR.set(namespace)
    task = asyncio.create_task(resolver.resolve(host, 80))
    await until(lambda: host in held.asked)
    return task


async def answer(resolver: AbstractResolver, host: str, family: socket.AddressFamily) -> Any:
    try:
        return await resolver.resolve(host, 8443, family)
    except OSError as error:
        return type(error), error.args


@pytest.mark.parametrize("family", [socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.1", "::1", "::ffff:127.0.0.1", "fe80::1%lo", "no-such-name.invalid"]
)
async def test_an_answer_is_what_aiohttps_resolver_gives(host: str, family: socket.AddressFamily) -> None:
    assert await answer(SystemResolver(), host, family) == await answer(ThreadedResolver(), host, family)


async def test_a_namespace_at_its_bound_is_refused_and_another_is_not(held: Held) -> None:
    resolver = SystemResolver(LookupCount(most=10, most_of_one=2))
    tasks = [await begun(held, resolver, f"h{n}.slow.test") for n in range(2)]
    with pytest.raises(TooManyLookups, match=r"too many of the namespace's names .*2 look-ups"):
        await resolver.resolve("fast.test")
    BEGUN_FOR.set("b")
    assert [each["host"] for each in await resolver.resolve("fast.test")] == ["127.0.0.1"]
    held.go_on.set()
    await asyncio.gather(*tasks)
    BEGUN_FOR.set("a")
    assert await resolver.resolve("fast.test")


async def test_a_process_at_its_bound_refuses_every_namespace(held: Held) -> None:
    resolver = SystemResolver(LookupCount(most=2, most_of_one=2))
    tasks = [await begun(held, resolver, f"{name}.slow.test", name) for name in "ab"]
    BEGUN_FOR.set("c")
    with pytest.raises(TooManyLookups, match=r"too many names .*2 look-ups") as refused:
        await resolver.resolve("fast.test")
    assert refused.value.namespace is None
    held.go_on.set()
    await asyncio.gather(*tasks)


async def test_a_lookup_that_nobody_waits_for_any_more_counts_until_it_has_ended(held: Held) -> None:
    resolver = SystemResolver(LookupCount(most_of_one=1))
    task = await begun(held, resolver, "h.slow.test")
    task.cancel()
    await asyncio.wait([task])
    with pytest.raises(TooManyLookups):
        await resolver.resolve("fast.test")
    held.go_on.set()
    await until(lambda: not lookups())
    assert await resolver.resolve("fast.test")


async def test_a_lookup_whose_thread_cannot_be_started_fails_and_is_not_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    resolver = SystemResolver(LookupCount(most_of_one=1))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", full)
        for _ in range(2):
            with pytest.raises(OSError, match="no thread to look it up: can't start new thread"):
                await resolver.resolve("localhost")
    assert await resolver.resolve("localhost")


def test_a_loop_that_is_closed_meanwhile_is_no_error_and_no_exit_waits(held: Held) -> None:
    async def leave() -> None:
        await begun(held, SystemResolver(), "h.slow.test")

    asyncio.run(leave())
    (thread,) = (each for each in lookups() if each.name == "look-up h.slow.test")
    assert thread.daemon
    held.go_on.set()
    thread.join(GENEROUS)  # what it raises would be a warning, and so an error
    assert not thread.is_alive()


@pytest.mark.parametrize("host", ["sessions.com", "a.b.example.com", "team-a.svc", "3com.example"])
async def test_a_name_with_a_dot_is_looked_up_as_it_is(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    asked: list[str] = []

    def getaddrinfo(name: str, *_: Any, **__: Any) -> Any:
        asked.append(name)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    await SystemResolver().resolve(host, 80)
    await SystemResolver().resolve("sessions", 80)
    await SystemResolver().resolve("127.1", 80)
    assert asked == [f"{host}.", "sessions", "127.1"]


async def test_a_name_with_a_dot_that_the_file_of_hosts_has_is_found_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "hosts"
    file.write_text(
        "127.0.0.1 localhost\n# 10.0.0.9 in.hosts.test\n10.0.0.1\tother IN.hosts.test # mine\n::1 in.hosts.test\n"
    )
    monkeypatch.setattr(lookups_module, "HOSTS", file)
    found = await SystemResolver().resolve("in.hosts.test", 80, socket.AF_INET)
    assert [(each["hostname"], each["host"]) for each in found] == [("in.hosts.test", "10.0.0.1")]
    with pytest.raises(OSError, match="not known"):
        await SystemResolver().resolve("no-such-name.invalid", 80)


async def test_requests_of_a_namespace_for_one_name_share_a_look_up_and_nobody_elses(
    floor: AddressFloor, held: Held
) -> None:
    client = EgressClient(floor, resolver=SystemResolver(LookupCount(most_of_one=1)))
    async with raw_server() as server:
        asking = [asyncio.create_task(fetch(client, server, "x.slow.test", name)) for name in "aaab"]
        await until(lambda: len(held.asked) == 2)
        held.go_on.set()
        assert await asyncio.gather(*asking) == [200] * 4
        assert held.asked == ["x.slow.test"] * 2
        await fetch(client, server, "x.slow.test", "b")
        assert len(held.asked) in (2, 3), "no answer is kept; the connection may be"
    await client.close()
    await nothing_left()


async def fetch(client: EgressClient, server: RawServer, host: str, namespace: str) -> int:
    request = OutboundRequest("GET", parse_url(f"http://{host}:{server.port}/"), namespace=namespace)
    return (await client.send(request, timeout=GENEROUS, max_response_bytes=100)).status


async def test_the_client_counts_for_the_namespace_whose_request_it_is_and_says_what_is_wrong(
    floor: AddressFloor, held: Held
) -> None:
    client = EgressClient(floor, resolver=SystemResolver(LookupCount(most_of_one=1)))
    async with raw_server() as server:
        slow = asyncio.create_task(fetch(client, server, "h.slow.test", "a"))
        await until(lambda: bool(held.asked))
        with pytest.raises(Unavailable, match=r"^http://x\.test:\d+: too many of the namespace's names are slow to"):
            await fetch(client, server, "x.test", "a")
        assert await fetch(client, server, "x.test", "b") == 200
        held.go_on.set()
        assert await slow == 200
    await client.close()
    await nothing_left()


async def test_what_one_namespace_is_refused_is_not_refused_to_another_that_asks_for_the_same_name(
    floor: AddressFloor, held: Held
) -> None:
    client = EgressClient(floor, resolver=SystemResolver(LookupCount(most_of_one=1)))
    async with raw_server() as server:
        slow = asyncio.create_task(fetch(client, server, "h.slow.test", "a"))
        await until(lambda: bool(held.asked))
        both = await asyncio.gather(  # within one step of the loop
            fetch(client, server, "x.test", "a"), fetch(client, server, "x.test", "b"), return_exceptions=True
        )
        assert isinstance(both[0], Unavailable)
        assert both[1] == 200
        held.go_on.set()
        await slow
    await client.close()
    await nothing_left()
