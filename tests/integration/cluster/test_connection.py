"""One pool for kopf and for our own calls: what every request carries and reports, and how kopf logs in.

Matrix: observer and clock; tokens that expire; kopf's watch, its re-login after 401, its end.
"""

import asyncio
import base64
import json
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from curation.cluster.answers import Written
from curation.cluster.connection import connect
from curation.cluster.request_labels import Asked
from curation.cluster.resources import JOBS, NAMESPACES
from testing.controlplane.connection import Connection as Server
from tests.faults.proxy import FaultProxy, answered, reset

from .conftest import PATIENCE, Client, client
from .shell import Shell


async def test_every_request_is_reported_with_its_code(installed: Server, cluster: Client, tmp_path: Path) -> None:
    seen: Counter[tuple[str, str, str]] = Counter()
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(reset("DELETE", times=None))
        kubeconfig = proxy.kubeconfig(tmp_path)

        def observe(asked: Asked, code: str, seconds: float) -> None:
            assert 0 <= seconds < PATIENCE
            seen[(asked.verb, asked.resource, code)] += 1

        async with client(kubeconfig, cluster.namespace, observer=observe) as beyond:
            job = await beyond.create_job()
            await beyond.api.get(JOBS, beyond.namespace, "absent")
            for _ in range(2):
                await beyond.writer.patch(
                    JOBS,
                    beyond.namespace,
                    "a",
                    resource_version=job["metadata"]["resourceVersion"],
                    body={"status": {"message": "m"}},
                    subresource="status",
                )
            await beyond.api.list(JOBS, beyond.namespace)
            with pytest.raises(Exception, match="DELETE"):
                await beyond.api.delete(JOBS, beyond.namespace, "a", uid="x", resource_version=None)
    deletions = seen.pop(("delete", "curationjobs", "<error>"))
    assert deletions >= 1  # aiohttp may send an idempotent request once more on a new connection
    assert seen == {
        ("create", "curationjobs", "201"): 1,
        ("get", "curationjobs", "404"): 1,
        ("patch", "curationjobs/status", "200"): 1,
        ("patch", "curationjobs/status", "409"): 1,
        ("list", "curationjobs", "200"): 1,
    }


async def test_the_clock_follows_the_answers(cluster: Client) -> None:
    clock = cluster.connection.clock
    assert clock.uncertainty == float("inf")
    await cluster.create_job()
    assert clock.uncertainty <= 0.5 + PATIENCE / 2
    # This server runs on this machine: its clock is ours.
    assert abs(clock.now().timestamp() - time.time()) <= clock.uncertainty + 0.1


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_an_expired_token_is_read_anew_and_the_request_repeated_once(
    installed: Server, cluster: Client, tmp_path: Path, method: str
) -> None:
    """A 401 is refused before anything is carried out: to repeat it is no second write."""
    await cluster.create_job()
    job = await cluster.get_job()
    (tmp_path / "token").write_text("t1")
    async with FaultProxy(installed.kubeconfig()) as proxy:
        path = proxy.kubeconfig(tmp_path)
        document: dict[str, Any] = yaml.safe_load(path.read_text())
        document["users"][0]["user"] = {"tokenFile": str(tmp_path / "token")}
        path.write_text(json.dumps(document))
        async with client(path, cluster.namespace) as beyond:
            proxy.inject(answered(401, method))
            (tmp_path / "token").write_text("t2")
            if method == "GET":
                assert await beyond.get_job() == job
            else:
                answer = await beyond.writer.patch(
                    JOBS,
                    beyond.namespace,
                    "a",
                    resource_version=job["metadata"]["resourceVersion"],
                    body={"status": {"message": "m"}},
                    subresource="status",
                )
                assert isinstance(answer, Written), answer
            assert await beyond.connection.credentials.authorization() == "Bearer t2"
        assert [(it.method, it.status) for it in proxy.exchanges] == [(method, None), (method, 200)]


async def test_kopf_watches_through_our_pool_and_its_end_leaves_the_pool_open(cluster: Client) -> None:
    await cluster.create_job("before")
    shell = Shell(cluster.connection, cluster.namespace)
    try:
        await shell.sees("before")
        await cluster.create_job("later")
        await shell.sees("later")
    finally:
        await shell.end()
    assert shell.logins == 1
    assert all(session.closed for session in shell.sessions)
    assert await cluster.get_job("later")


async def test_kopf_logs_in_again_after_a_401_and_our_own_calls_never_notice(
    installed: Server, namespace: str, tmp_path: Path
) -> None:
    async with FaultProxy(installed.kubeconfig()) as proxy:
        # One for the first try and one for the repetition with credentials read anew: only then kopf gets an answer.
        fault = proxy.inject(answered(401, "GET", "watch=true", times=2, body="{}"))
        async with client(proxy.kubeconfig(tmp_path), namespace) as beyond:
            shell = Shell(beyond.connection, namespace)
            try:
                await asyncio.wait_for(fault.reached.wait(), PATIENCE)
                await beyond.create_job("a")
                await shell.sees("a")
            finally:
                await shell.end()
    assert fault.hits == 2
    assert shell.logins == 2
    assert shell.sessions[0] is not shell.sessions[1]
    assert all(session.closed for session in shell.sessions)


async def test_a_connection_without_a_server_fails_at_the_call_and_not_before(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "k"
    kubeconfig.write_text(
        json.dumps(
            {
                "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
                "users": [{"name": "c", "user": {}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
                "current-context": "c",
            }
        )
    )
    async with await connect(environ={"KUBECONFIG": str(kubeconfig)}) as connection:
        assert connection.server == "http://127.0.0.1:9"


async def test_a_renewed_client_certificate_is_used_by_new_connections(installed: Server, tmp_path: Path) -> None:
    def write(user: str) -> Path:
        document = yaml.safe_load(installed.kubeconfig(user, ("system:authenticated",)).read_text())
        [entry] = document["users"]
        for name in ("client-certificate", "client-key"):
            (tmp_path / name).write_bytes(base64.b64decode(entry["user"].pop(f"{name}-data")))
            entry["user"][name] = str(tmp_path / name)
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(document))
        return path

    async with client(write("before"), "default") as made:
        write("after")
        made.connection.credentials._refresh_at = 0.0  # the minute has passed
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await made.connection.send("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)
    assert isinstance(answer, dict), answer
    assert answer["status"]["userInfo"]["username"] == "after"


@pytest.mark.parametrize("wait", [0.0, 0.005, 0.01, 0.02, 0.04])
async def test_requests_that_are_given_up_at_any_time_leave_no_socket_open(installed: Server, wait: float) -> None:
    """Also in the middle of a TLS handshake; how many are caught there depends on the machine, so there are many."""
    async with client(installed.kubeconfig(), "default") as made:
        sockets = made.connection._sockets._made
        tasks = [asyncio.create_task(made.api.get(NAMESPACES, None, "default")) for _ in range(20)]
        await asyncio.sleep(wait)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert [one for one in sockets if one.fileno() != -1] == []


async def test_a_dead_peer_is_found_by_the_network(cluster: Client) -> None:
    await cluster.create_job()
    [made] = cluster.connection._sockets._made
    assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    idle, interval, count = (
        made.getsockopt(socket.IPPROTO_TCP, option)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    )
    assert idle + interval * count <= 60
