"""Leader election on the real server.

Matrix: nobody holds it, another holds it, it was released, it expired by our clock, by the holder's; the holder is cut
off, paused with its server, robbed, edited around, deserted by a lost answer; two at once; the end.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from curation.cluster.answers import Document, Written
from curation.cluster.lease import LeaseElector
from curation.cluster.resources import LEASES
from testing.clock import SetClock
from testing.controlplane.connection import Connection as Server
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from testing.controlplane.server import ControlPlane
from tests.faults.proxy import FaultProxy, ProxyFault, answered, held_answer, held_request, lost_answer, reset

from .conftest import PATIENCE, Client, client, eventually

NAME = "curation-operator"
SHORT = {"duration": 3.0, "renew_deadline": 2.0}


def elector(of: Client, identity: str, **more: Any) -> LeaseElector:
    # Long, so that a machine that stalls costs no test its lease; a test about expiry says SHORT, or moves a clock.
    timing = {"duration": 30.0, "renew_deadline": 20.0, "retry_period": 0.2, **more}
    clock = of.connection.clock
    return LeaseElector(of.api, of.writer, namespace=of.namespace, name=NAME, identity=identity, clock=clock, **timing)


class Candidate:
    """Runs an elector, and writes down when it starts and stops."""

    def __init__(self, made: LeaseElector, history: list[str]) -> None:
        self.elector = made
        self.started, self.lost = asyncio.Event(), asyncio.Event()
        self._history = history
        self.task = asyncio.create_task(made.run(self._start, self._stop))

    async def _start(self) -> None:
        self._history.append(f"{self.elector.identity} started")
        self.started.set()

    async def _stop(self) -> None:
        self._history.append(f"{self.elector.identity} lost")
        self.lost.set()

    async def stop(self) -> None:
        """As at SIGTERM, after the work has been stopped."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@asynccontextmanager
async def candidate(made: LeaseElector, history: list[str]) -> AsyncIterator[Candidate]:
    running = Candidate(made, history)
    try:
        yield running
    finally:
        await running.stop()


async def soon(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), PATIENCE)


async def spec(cluster: Client) -> Document:
    lease = await cluster.api.get(LEASES, cluster.namespace, NAME)
    assert lease is not None
    found: Document = lease["spec"]
    return found


async def renewed(cluster: Client) -> None:
    """Wait for the next renewal."""
    before = (await spec(cluster))["renewTime"]

    async def changed() -> bool:
        return bool((await spec(cluster))["renewTime"] != before)

    await eventually(changed, "not renewed")


async def edit(cluster: Client, body: Callable[[Document], Document]) -> None:
    """Edit the lease as somebody else, against a holder that goes on renewing it."""

    async def edited() -> bool:
        lease = await cluster.api.get(LEASES, cluster.namespace, NAME)
        assert lease is not None
        version = lease["metadata"]["resourceVersion"]
        answer = await cluster.writer.patch(
            LEASES, cluster.namespace, NAME, resource_version=version, body=body(lease), subresource=None
        )
        return isinstance(answer, Written)

    await eventually(edited, "the lease could not be edited")


async def test_the_first_candidate_makes_the_lease_and_says_who_holds_it(cluster: Client) -> None:
    first = elector(cluster, "a/1")
    assert not first.leading
    assert await first.try_acquire()
    assert first.leading
    held = await spec(cluster)
    assert held["holderIdentity"] == "a/1"
    assert (held["leaseDurationSeconds"], held["leaseTransitions"]) == (30, 0)
    assert held["acquireTime"] == held["renewTime"]


async def test_a_second_candidate_waits_while_the_first_renews(cluster: Client) -> None:
    history: list[str] = []
    clock = SetClock()
    second = elector(cluster, "b", monotonic=clock)
    async with candidate(elector(cluster, "a"), history) as first:
        await soon(first.started)
        for _ in range(5):
            assert not await second.try_acquire()
            clock.now += 29.0
            await renewed(cluster)
        assert second.holder == "a"
        assert first.elector.leading
    assert history == ["a started"]


async def test_a_released_lease_is_taken_at_once_and_the_transition_is_counted(cluster: Client) -> None:
    history: list[str] = []
    # With such a duration, nothing but the release can be what the second one waits for.
    slow = {"duration": 600.0, "renew_deadline": 500.0}
    async with candidate(elector(cluster, "a", **slow), history) as first:
        await soon(first.started)
        async with candidate(elector(cluster, "b", **slow), history) as second:
            await first.stop()
            await soon(second.started)
            held = await spec(cluster)
    assert (held["holderIdentity"], held["leaseTransitions"]) == ("b", 1)
    assert history == ["a started", "b started"]
    assert (await spec(cluster)).get("holderIdentity", "") == ""


async def test_expiry_is_decided_by_the_own_clock_since_the_last_change_seen(cluster: Client) -> None:
    """What the times in the lease say does not matter: the other clock may be hours off."""
    holder = elector(cluster, "other", duration=15.0, renew_deadline=10.0)
    assert await holder.try_acquire()
    await edit(cluster, lambda _: {"spec": {"renewTime": "1999-01-01T00:00:00.000000Z"}})
    clock = SetClock()
    waiting = elector(cluster, "me", duration=15.0, renew_deadline=10.0, monotonic=clock)
    assert not await waiting.try_acquire()
    clock.now += 14.9
    assert not await waiting.try_acquire()
    await edit(cluster, lambda _: {"spec": {"renewTime": "1999-01-02T00:00:00.000000Z"}})
    clock.now += 14.9
    assert not await waiting.try_acquire()  # it was renewed in between: the time begins anew
    await edit(cluster, lambda _: {"metadata": {"labels": {"touched": "yes"}}})
    clock.now += 15.1
    assert await waiting.try_acquire()  # a label is no renewal
    held = await spec(cluster)
    assert (held["holderIdentity"], held["leaseTransitions"]) == ("me", 1)


async def test_the_promise_of_the_holder_counts_not_the_candidates_own_duration(cluster: Client) -> None:
    assert await elector(cluster, "other", duration=60.0, renew_deadline=50.0).try_acquire()
    clock = SetClock()
    hasty = elector(cluster, "me", monotonic=clock, **SHORT)
    assert not await hasty.try_acquire()
    clock.now += 59.0
    assert not await hasty.try_acquire()
    clock.now += 2.0
    assert await hasty.try_acquire()


async def test_of_many_candidates_for_an_expired_lease_exactly_one_wins(cluster: Client) -> None:
    assert await elector(cluster, "other").try_acquire()
    for number in range(5):
        clock = SetClock()
        candidates = [elector(cluster, f"c{number}.{index}", monotonic=clock) for index in range(8)]
        assert not any([await one.try_acquire() for one in candidates])
        clock.now += 30.1
        won = await asyncio.gather(*(one.try_acquire() for one in candidates))
        assert won.count(True) == 1
        assert [one.leading for one in candidates] == won
        held = await spec(cluster)
        assert held["holderIdentity"] == candidates[won.index(True)].identity
        assert held["leaseTransitions"] == number + 1


async def test_a_holder_that_is_cut_off_stops_before_another_one_starts(
    installed: Server, cluster: Client, tmp_path: Path
) -> None:
    history: list[str] = []
    async with (
        FaultProxy(installed.kubeconfig()) as proxy,
        client(proxy.kubeconfig(tmp_path), cluster.namespace) as beyond,
        candidate(elector(beyond, "a", **SHORT), history) as first,
    ):
        await soon(first.started)
        async with candidate(elector(cluster, "b", **SHORT), history) as second:
            await eventually(_watching(second), "b did not see a")
            proxy.inject(reset(times=None))
            await soon(second.started)
            assert first.lost.is_set()
            assert not first.elector.leading
    assert history == ["a started", "a lost", "b started"]


def _watching(waiting: Candidate) -> Callable[[], Any]:
    async def watching() -> bool:
        return waiting.elector.holder == "a"

    return watching


async def test_with_a_paused_server_the_holder_stops_in_time_and_one_leads_afterwards(
    private_control_plane: ControlPlane,
) -> None:
    history: list[str] = []
    async with (
        client(private_control_plane.kubeconfig(), "default", seconds=1.0) as cluster,
        candidate(elector(cluster, "a", **SHORT), history) as first,
    ):
        await soon(first.started)
        async with candidate(elector(cluster, "b", **SHORT), history) as second:
            await eventually(_watching(second), "b did not see a")
            private_control_plane.pause_apiserver()
            try:
                await soon(first.lost)
                assert not first.elector.leading
                assert not second.started.is_set()
            finally:
                private_control_plane.resume_apiserver()
            await soon(second.started)
            assert (await spec(cluster))["holderIdentity"] == "b"
    assert history == ["a started", "a lost", "b started"]


async def test_a_lost_answer_to_a_renewal_costs_nothing(installed: Server, cluster: Client, tmp_path: Path) -> None:
    history: list[str] = []
    async with (
        FaultProxy(installed.kubeconfig()) as proxy,
        client(proxy.kubeconfig(tmp_path), cluster.namespace) as beyond,
        candidate(elector(beyond, "a"), history) as first,
    ):
        await soon(first.started)
        fault = proxy.inject(lost_answer("PATCH"))
        await soon(fault.reached)
        await renewed(cluster)
        assert first.elector.leading
        assert (await spec(cluster))["leaseTransitions"] == 0
    assert history == ["a started"]


async def test_a_lost_answer_to_the_taking_is_found_out(installed: Server, cluster: Client, tmp_path: Path) -> None:
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(lost_answer("POST"))
        async with client(proxy.kubeconfig(tmp_path), cluster.namespace) as beyond:
            first = elector(beyond, "a")
            assert not await first.try_acquire()
            assert not first.leading
            assert await first.try_acquire()
    held = await spec(cluster)
    assert (held["holderIdentity"], held["leaseTransitions"]) == ("a", 0)


async def test_a_renewal_that_the_stop_cuts_short_does_not_keep_the_lease_from_being_released(
    installed: Server, cluster: Client, tmp_path: Path
) -> None:
    history: list[str] = []
    async with (
        FaultProxy(installed.kubeconfig()) as proxy,
        client(proxy.kubeconfig(tmp_path), cluster.namespace) as beyond,
        candidate(elector(beyond, "a"), history) as first,
    ):
        await soon(first.started)
        landed = proxy.inject(held_answer("PATCH"))
        await soon(landed.reached)
        await first.stop()
        assert (await spec(cluster)).get("holderIdentity", "") == ""
    assert history == ["a started"]


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_a_taking_that_the_stop_cuts_short_does_not_leave_the_lease_taken(
    installed: Server, cluster: Client, tmp_path: Path, method: str
) -> None:
    history: list[str] = []
    if method == "PATCH":
        before = elector(cluster, "before")
        assert await before.try_acquire()
        await before.release()
    async with (
        FaultProxy(installed.kubeconfig()) as proxy,
        client(proxy.kubeconfig(tmp_path), cluster.namespace) as beyond,
    ):
        landed = proxy.inject(held_answer(method))
        async with candidate(elector(beyond, "a"), history) as first:
            await soon(landed.reached)
            assert (await spec(cluster))["holderIdentity"] == "a"
            await first.stop()
        assert (await spec(cluster)).get("holderIdentity", "") == ""
    assert history == []


async def test_a_renewal_on_a_connection_that_hangs_does_not_cost_the_lease(
    installed: Server, cluster: Client, tmp_path: Path
) -> None:
    history: list[str] = []
    async with (
        FaultProxy(installed.kubeconfig()) as proxy,
        client(proxy.kubeconfig(tmp_path), cluster.namespace) as beyond,
        candidate(elector(beyond, "a", duration=15.0, renew_deadline=10.0), history) as first,
    ):
        await soon(first.started)
        hangs = proxy.inject(held_request("PATCH"))
        await soon(hangs.reached)
        await renewed(cluster)
        assert first.elector.leading
        assert (await spec(cluster))["leaseTransitions"] == 0
    assert history == ["a started"]


async def test_an_edit_of_a_label_does_not_cost_the_lease(cluster: Client) -> None:
    history: list[str] = []
    async with candidate(elector(cluster, "a"), history) as first:
        await soon(first.started)
        await edit(cluster, lambda _: {"metadata": {"labels": {"touched": "yes"}}})
        await renewed(cluster)
        assert first.elector.leading
    assert history == ["a started"]


async def test_a_stolen_lease_is_noticed_at_the_next_renewal(cluster: Client) -> None:
    history: list[str] = []
    async with candidate(elector(cluster, "a", renew_deadline=200.0, duration=300.0), history) as first:
        await soon(first.started)
        await edit(cluster, lambda _: {"spec": {"holderIdentity": "thief"}})
        await soon(first.lost)
        assert first.elector.holder == "thief"
        await asyncio.wait_for(first.task, PATIENCE)
    assert history == ["a started", "a lost"]
    assert (await spec(cluster))["holderIdentity"] == "thief"  # not released: it is not ours


async def test_a_deleted_lease_is_made_again_by_its_holder(cluster: Client) -> None:
    history: list[str] = []
    async with candidate(elector(cluster, "a"), history) as first:
        await soon(first.started)
        lease = await cluster.api.get(LEASES, cluster.namespace, NAME)
        assert lease is not None
        uid = lease["metadata"]["uid"]
        assert await cluster.api.delete(LEASES, cluster.namespace, NAME, uid=uid, resource_version=None)

        async def made_again() -> bool:
            found = await cluster.api.get(LEASES, cluster.namespace, NAME)
            return found is not None and found["spec"]["holderIdentity"] == "a"

        await eventually(made_again, "not made again")
        assert first.elector.leading
    assert history == ["a started"]


async def test_past_the_deadline_it_does_not_lead_even_if_nothing_could_run(cluster: Client) -> None:
    """As when the process was stopped, or its event loop blocked: no callback came, and it must not act."""
    clock = SetClock()
    first = elector(cluster, "a", monotonic=clock)
    assert await first.try_acquire()
    clock.now += 19.9
    assert first.leading
    clock.now += 0.2
    assert not first.leading


async def test_work_that_takes_long_to_start_does_not_keep_the_lease_from_being_renewed(cluster: Client) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()
    finished = asyncio.Event()

    async def start() -> None:
        started.set()
        await go_on.wait()
        finished.set()

    async def lost() -> None:
        raise AssertionError("lost")

    first = elector(cluster, "a")
    task = asyncio.create_task(first.run(start, lost))
    await soon(started)
    await renewed(cluster)
    go_on.set()
    await soon(finished)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_work_that_cannot_start_gives_the_lease_back(cluster: Client) -> None:
    async def start() -> None:
        raise RuntimeError("cannot start")

    async def lost() -> None:
        raise AssertionError("lost")

    with pytest.raises(RuntimeError, match="cannot start"):
        await elector(cluster, "a").run(start, lost)
    assert (await spec(cluster)).get("holderIdentity", "") == ""


async def test_the_operators_own_role_suffices(installed: Server) -> None:
    async with client(installed.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS), "curation-system") as operator:
        first = elector(operator, "test/role")

        async def acquired() -> bool:
            return await first.try_acquire()

        await eventually(acquired, "the role does not suffice")
        assert await first.try_acquire()  # a renewal
        await first.release()
        assert not first.leading


def refusal(message: str, code: int = 403, method: str = "POST") -> ProxyFault:
    return answered(code, method, body=f'{{"reason": "Forbidden", "message": "{message}"}}')


@pytest.mark.parametrize("held", [False, True], ids=["to be made", "to be renewed"])
async def test_writes_of_the_lease_that_are_refused_are_reported_once_for_each_cause(
    installed: Server, cluster: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture, held: bool
) -> None:
    method = "PATCH" if held else "POST"
    async with FaultProxy(installed.kubeconfig()) as proxy, client(proxy.kubeconfig(tmp_path), cluster.namespace) as of:
        one = elector(of, "one")
        assert not held or await one.try_acquire()
        with caplog.at_level(logging.INFO, "curation.cluster.lease"):
            for message in ("used: 1, limited: 0", "used: 2, limited: 0", "used: 3, limited: 0", "a webhook says no"):
                proxy.inject(refusal(message, method=method))
                assert not await one.try_acquire()
            assert await one.try_acquire()
            assert await one.try_acquire()
    where = f"The lease {cluster.namespace}/{NAME}"
    assert [line.getMessage() for line in caplog.records] == [
        f"{where} cannot be written, which is tried again: 403 Forbidden: used: 1, limited: 0",
        f"{where} cannot be written, which is tried again: 403 Forbidden: a webhook says no",
        f"{where} is written again",
    ]


async def test_reads_of_the_lease_that_are_refused_are_reported_once(
    installed: Server, cluster: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with FaultProxy(installed.kubeconfig()) as proxy, client(proxy.kubeconfig(tmp_path), cluster.namespace) as of:
        one = elector(of, "one")
        with caplog.at_level(logging.INFO, "curation.cluster.lease"):
            for _ in range(3):
                proxy.inject(refusal("not yours", method="GET"))
                assert not await one.try_acquire()
            assert await one.try_acquire()
    assert [line.levelname for line in caplog.records] == ["WARNING", "INFO"]
    assert "cannot be read, which is tried again: 403 Forbidden: not yours" in caplog.records[0].getMessage()


@pytest.mark.parametrize(
    "timing", [{"renew_deadline": 30.0}, {"retry_period": 20.0}, {"retry_period": 0.0}, {"duration": 1.0}]
)
async def test_a_timing_that_could_have_two_leaders_is_refused(cluster: Client, timing: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="retry_period < renew_deadline < duration"):
        elector(cluster, "a", **timing)


async def test_a_lease_that_is_at_an_older_version_than_was_seen_ends_the_process(cluster: Client) -> None:
    """It is read past the API server's watch cache, so it shows a restore that the server has not noticed."""
    reported: list[str] = []
    one = elector(cluster, "one", lost_history=reported.append)
    assert await one.try_acquire()
    assert await one.try_acquire()
    assert reported == []
    one._resource_version = str(10**15)
    await one.try_acquire()
    (said,) = reported
    assert f"lease {cluster.namespace}/{NAME} had resourceVersion {10**15}" in said


async def test_a_lease_that_was_deleted_and_made_anew_is_no_way_back(cluster: Client) -> None:
    reported: list[str] = []
    one = elector(cluster, "one", lost_history=reported.append)
    assert await one.try_acquire()
    lease = await cluster.api.get(LEASES, cluster.namespace, NAME)
    assert lease is not None
    one._uid, one._resource_version = "another", str(10**15)
    await one.try_acquire()
    assert reported == []
