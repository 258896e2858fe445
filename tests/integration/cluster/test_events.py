"""The event recorder on the real server, under the operator's own role.

Matrix: first, repeated, another message; many; terminating namespace; forbidden; lost answers; unreachable; the end.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from curation.cluster.answers import Document
from curation.cluster.event_limits import BURST
from curation.cluster.events import EventRecorder
from curation.cluster.resources import EVENTS, JOBS
from testing.controlplane.connection import Connection as Server
from testing.controlplane.connection import Kubectl
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from tests.faults.proxy import FaultProxy, answered, lost_answer, reset

from .conftest import Client, client, eventually


@asynccontextmanager
async def recorder_of(made: Client) -> AsyncIterator[EventRecorder]:
    recorder = EventRecorder(made.api, made.writer, identity="test/1", clock=made.connection.clock, retry_delay=0.01)
    recorder.start()
    try:
        yield recorder
    finally:
        await recorder.close(timeout=30)


@asynccontextmanager
async def recording(server: Server, namespace: str) -> AsyncIterator[EventRecorder]:
    async with (
        client(server.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS), namespace) as operator,
        recorder_of(operator) as recorder,
    ):
        yield recorder


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)


async def events(cluster: Client) -> list[Document]:
    return await cluster.api.list(EVENTS, cluster.namespace)


async def test_an_event_says_all_that_kubectl_shows(
    installed: Server, cluster: Client, namespace: str, kubectl: Kubectl
) -> None:
    job = await cluster.create_job()
    async with recording(installed, namespace) as recorder:
        recorder.record(job, "SessionSpawned", "Session s1 runs.", action="Submit")
    [event] = await events(cluster)
    assert event["reportingController"] == "curation.dev/operator"
    assert event["reportingInstance"] == "test/1"
    assert (event["type"], event["reason"], event["action"]) == ("Normal", "SessionSpawned", "Submit")
    assert event["note"] == "Session s1 runs."
    assert event["regarding"]["uid"] == job["metadata"]["uid"]
    assert "series" not in event
    assert "Session s1 runs." in kubectl("describe", "curationjob", "a").stdout


async def test_the_same_event_again_is_one_object_with_a_count(
    installed: Server, cluster: Client, namespace: str
) -> None:
    job = await cluster.create_job()
    async with recording(installed, namespace) as recorder:
        recorder.record(job, "Denied", "GET http://x/ is denied.", action="Submit", type="Warning")
        await eventually(lambda: events(cluster), "no event")
        for _ in range(4):
            recorder.record(job, "Denied", "GET http://x/ is denied.", action="Submit", type="Warning")
        recorder.record(job, "Denied", "GET http://y/ is denied.", action="Submit", type="Warning")
    by_note = {event["note"]: event for event in await events(cluster)}
    assert len(by_note) == 2
    repeated = by_note["GET http://x/ is denied."]
    assert repeated["series"]["count"] == 5
    assert repeated["series"]["lastObservedTime"] >= repeated["eventTime"]
    assert "series" not in by_note["GET http://y/ is denied."]


async def test_an_object_that_never_stops_is_cut_off_and_others_are_not(
    installed: Server, cluster: Client, namespace: str
) -> None:
    noisy, quiet = await cluster.create_job("noisy"), await cluster.create_job("quiet")
    async with recording(installed, namespace) as recorder:
        for number in range(BURST + 15):
            recorder.record(noisy, "Failed", f"number {number}", action="Submit")
        recorder.record(quiet, "Completed", "done", action="Submit")
        assert recorder.dropped == 15
    about = [event["regarding"]["name"] for event in await events(cluster)]
    assert (about.count("noisy"), about.count("quiet")) == (BURST, 1)


async def test_in_a_terminating_namespace_an_event_goes_to_the_log(
    installed: Server, cluster: Client, namespace: str, kubectl: Kubectl, caplog: pytest.LogCaptureFixture
) -> None:
    job = await cluster.create_job()  # its finalizer keeps the namespace
    kubectl("delete", "namespace", namespace, "--wait=false")
    await eventually(lambda: cluster.api.namespace_terminating(namespace), "the namespace did not terminate")
    with caplog.at_level(logging.INFO, "curation.cluster.events"):
        async with recording(installed, namespace) as recorder:
            recorder.record(job, "CleanupFailed", "Session s1 lives.", action="Cancel", type="Warning")
    assert (
        f"The namespace is terminating and takes no event: Warning CleanupFailed CurationJob {namespace}/a: "
        "Session s1 lives." in caplog.text
    )
    await cluster.writer.patch(
        JOBS,
        namespace,
        "a",
        resource_version=(await cluster.get_job())["metadata"]["resourceVersion"],
        body={"metadata": {"finalizers": None}},
        subresource=None,
    )


async def test_what_is_forbidden_is_logged_and_the_next_event_is_written(
    installed: Server, cluster: Client, namespace: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = await cluster.create_job()
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(answered(403, "POST", body='{"reason": "Forbidden", "message": "not allowed"}'))
        async with client(proxy.kubeconfig(tmp_path), namespace) as beyond, recorder_of(beyond) as recorder:
            with caplog.at_level(logging.INFO, "curation.cluster.events"):
                recorder.record(job, "Submitted", "first", action="Submit")
                await until(lambda: "The event was refused: Normal Submitted" in caplog.text)
            assert f"refuses events in namespace {namespace}" in caplog.text
            assert "not allowed" in caplog.text
            recorder.record(job, "Submitted", "second", action="Submit")
    assert [event["note"] for event in await events(cluster)] == ["second"]


async def test_an_event_outlives_errors_and_a_lost_answer_makes_no_second_one(
    installed: Server, cluster: Client, namespace: str, tmp_path: Path
) -> None:
    job = await cluster.create_job()
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(answered(503, "POST"))
        proxy.inject(lost_answer("POST"))
        async with client(proxy.kubeconfig(tmp_path), namespace) as beyond, recorder_of(beyond) as recorder:
            recorder.record(job, "Submitted", "once", action="Submit")
            await eventually(lambda: events(cluster), "no event")
    assert [event["note"] for event in await events(cluster)] == ["once"]


async def test_an_event_in_trouble_holds_up_no_other(
    installed: Server, cluster: Client, namespace: str, tmp_path: Path
) -> None:
    job = await cluster.create_job()
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(answered(503, "POST"))
        async with client(proxy.kubeconfig(tmp_path), namespace) as beyond:
            recorder = EventRecorder(
                beyond.api, beyond.writer, identity="i", clock=beyond.connection.clock, retry_delay=3600
            )
            recorder.start()
            recorder.record(job, "Submitted", "one", action="Submit")
            recorder.record(job, "Submitted", "other", action="Submit")
            await eventually(lambda: events(cluster), "the second event waits for the first")
            await recorder.close(timeout=0)
    assert len(await events(cluster)) == 1


async def test_an_event_that_is_repeated_while_it_is_written_is_counted(
    installed: Server, cluster: Client, namespace: str
) -> None:
    job = await cluster.create_job()
    async with recording(installed, namespace) as recorder:
        for _ in range(10):
            recorder.record(job, "Denied", "again", action="Submit")
            await asyncio.sleep(0)  # the first one is on its way by now
    [event] = await events(cluster)
    assert event["series"]["count"] == 10


async def test_a_series_goes_on_when_its_object_has_expired(installed: Server, cluster: Client, namespace: str) -> None:
    job = await cluster.create_job()
    async with recording(installed, namespace) as recorder:
        recorder.record(job, "Denied", "again", action="Submit")
        [first] = await eventually(lambda: events(cluster), "no event")
        metadata = first["metadata"]
        assert await cluster.api.delete(EVENTS, namespace, metadata["name"], uid=metadata["uid"], resource_version=None)
        recorder.record(job, "Denied", "again", action="Submit")
    [second] = await events(cluster)
    assert second["metadata"]["name"] != metadata["name"]
    assert second["series"]["count"] == 2


async def test_a_dead_server_stops_neither_the_caller_nor_the_end(
    installed: Server, cluster: Client, namespace: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = await cluster.create_job()
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(reset("POST", times=None))
        async with client(proxy.kubeconfig(tmp_path), namespace) as beyond, recorder_of(beyond) as recorder:
            recorder.record(job, "Submitted", "lost", action="Submit")
    assert "Gave up an event after 4 attempts" in caplog.text
    assert await events(cluster) == []


async def test_the_end_is_bounded_and_nothing_is_taken_after_it(cluster: Client) -> None:
    job = await cluster.create_job()
    recorder = EventRecorder(cluster.api, cluster.writer, identity="i", clock=cluster.connection.clock)
    recorder.record(job, "Submitted", "before the start", action="Submit")
    recorder.start()
    await recorder.close(timeout=30)
    recorder.record(job, "Submitted", "after the end", action="Submit")
    assert [event["note"] for event in await events(cluster)] == ["before the start"]
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("event-recorder")]


async def test_a_full_queue_loses_events_and_not_the_caller(cluster: Client, caplog: pytest.LogCaptureFixture) -> None:
    job = await cluster.create_job()
    recorder = EventRecorder(cluster.api, cluster.writer, identity="i", clock=cluster.connection.clock)
    for number in range(1100):  # not started, so nothing drains it; each about another object
        other = {**job, "metadata": {**job["metadata"], "uid": str(number)}}
        recorder.record(other, "Submitted", "m", action="Submit")
    assert recorder.dropped == 1100 - 1024
    assert "Too many events are waiting" in caplog.text
    await recorder.close()


async def test_a_namespace_that_floods_the_queue_loses_its_own_events_and_no_others(cluster: Client) -> None:
    job = await cluster.create_job()
    recorder = EventRecorder(cluster.api, cluster.writer, identity="i", clock=cluster.connection.clock)
    for number in range(5000):
        noisy = {**job, "metadata": {**job["metadata"], "uid": str(number), "namespace": "noisy"}}
        recorder.record(noisy, "Submitted", "m", action="Submit")
    dropped = recorder.dropped
    recorder.record(job, "Submitted", "the quiet one", action="Submit")
    assert (dropped > 0, recorder.dropped) == (True, dropped)
    recorder.start()
    # It is written long before those that wait: "noisy" does not even exist, and each of them is refused.
    async with asyncio.timeout(60):
        while not await events(cluster):  # noqa: ASYNC110 - the API server has no event for us to wait on
            await asyncio.sleep(0.05)
    await recorder.close(timeout=0)
    assert [event["note"] for event in await events(cluster)] == ["the quiet one"]


async def test_an_object_that_is_no_object_is_logged(cluster: Client, caplog: pytest.LogCaptureFixture) -> None:
    recorder = EventRecorder(cluster.api, cluster.writer, identity="i", clock=cluster.connection.clock)
    recorder.record({}, "Submitted", "m", action="Submit")
    assert "Cannot record the event Submitted: m" in caplog.text


async def test_a_long_message_and_the_event_of_a_cluster_scoped_object_are_accepted(cluster: Client) -> None:
    job = await cluster.create_job()
    policy = {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": "ClusterCurationPolicy",
        "metadata": {"name": "p", "uid": job["metadata"]["uid"]},
    }
    async with recorder_of(cluster) as recorder:
        recorder.record(job, "Failed", "ü" * 5000, action="Submit")
        recorder.record(policy, "Invalid", "no policy", action="Validate")
    [event] = await events(cluster)
    assert event["note"].endswith("ü...")
    in_default = await cluster.api.list(EVENTS, "default", field_selector="reason=Invalid")
    assert job["metadata"]["uid"] in [found["regarding"]["uid"] for found in in_default]
