"""Reads, creations and deletions on the real server.

Matrix: there, absent, not served, forbidden, unreachable; pages, pages that outlive the history; preconditions.
"""

import asyncio
import base64
import json
from pathlib import Path

import pytest

from curation.cluster import paging
from curation.cluster.answers import APIError, Created, Document, Exists, Refused, Unknown, Unreachable
from curation.cluster.resources import CONFIG_MAPS, JOBS, NAMESPACES
from testing.controlplane.connection import Connection as Server
from testing.controlplane.connection import Kubectl
from tests.faults.proxy import FaultProxy, answered, lost_answer, reset

from .conftest import Client, client, eventually


async def test_an_object_that_is_not_there_is_none(cluster: Client) -> None:
    assert await cluster.api.get(JOBS, cluster.namespace, "absent") is None
    assert await cluster.api.read_config_map(cluster.namespace, "absent") is None
    assert await cluster.api.read_secret(cluster.namespace, "absent") is None


@pytest.mark.parametrize(("status", "body"), [(404, "404 page not found\n"), (404, "{}"), (500, ""), (403, "{}")])
async def test_an_answer_that_does_not_say_that_the_object_is_absent_raises(
    installed: Server, namespace: str, tmp_path: Path, status: int, body: str
) -> None:
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(answered(status, "GET", body=body))
        async with client(proxy.kubeconfig(tmp_path), namespace) as beyond:
            with pytest.raises(APIError) as raised:
                await beyond.api.get(JOBS, namespace, "a")
    assert raised.value.code == status


async def test_a_server_that_does_not_answer_raises_unreachable(
    installed: Server, namespace: str, tmp_path: Path
) -> None:
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(reset("GET", times=None))
        async with client(proxy.kubeconfig(tmp_path), namespace) as beyond:
            with pytest.raises(Unreachable, match=r"GET .*curationjobs/a"):
                await beyond.api.get(JOBS, namespace, "a")


async def test_a_closed_connection_raises_unreachable(installed: Server, namespace: str) -> None:
    async with client(installed.kubeconfig(), namespace) as closed:
        pass
    with pytest.raises(Unreachable, match="was closed"):
        await closed.api.get(JOBS, namespace, "a")


async def test_what_rbac_forbids_raises_with_the_servers_reason(installed: Server, namespace: str) -> None:
    async with client(installed.kubeconfig("nobody", ("nothing",)), namespace) as nobody:
        with pytest.raises(APIError, match="cannot get resource") as raised:
            await nobody.api.get(JOBS, namespace, "a")
    assert (raised.value.code, raised.value.reason) == (403, "Forbidden")


async def test_config_maps_and_secrets_are_read_whole(cluster: Client, kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "wasm", "--from-literal=key=value")
    kubectl("create", "secret", "generic", "token", "--from-literal=key=value")
    config_map = await cluster.api.read_config_map(cluster.namespace, "wasm")
    secret = await cluster.api.read_secret(cluster.namespace, "token")
    assert config_map is not None
    assert config_map["data"] == {"key": "value"}
    assert secret is not None
    assert secret["data"] == {"key": "dmFsdWU="}


async def test_metadata_of_all_objects_comes_in_pages(cluster: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGE_SIZE", 3)
    jobs = [await cluster.create_job(f"j{number}") for number in range(8)]
    listed = [item async for item in cluster.api.list_metadata(JOBS, cluster.namespace)]
    assert [item["metadata"]["name"] for item in listed] == [f"j{number}" for number in range(8)]
    assert {item["metadata"]["uid"] for item in listed} == {job["metadata"]["uid"] for job in jobs}
    assert all("spec" not in item for item in listed)
    everywhere = [item["metadata"]["uid"] async for item in cluster.api.list_metadata(JOBS)]
    assert {job["metadata"]["uid"] for job in jobs} <= set(everywhere)


def expired(token: str) -> str:
    """The answer to a token that is too old: it holds another one, to go on from there at the present."""
    status = {"kind": "Status", "code": 410, "reason": "Expired", "metadata": {"continue": token}}
    return json.dumps(status)


async def first_token(cluster: Client) -> str:
    page = await cluster.connection.send("GET", JOBS.path(cluster.namespace), query={"limit": "2"})
    assert isinstance(page, dict)
    return str(page["metadata"]["continue"])


async def test_a_list_that_outlives_the_history_of_the_server_goes_on_from_the_present(
    installed: Server, cluster: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_SIZE", 2)
    for number in range(5):
        await cluster.create_job(f"j{number}")
    # The server's own token for that: the same place, bound to no version.
    token = await first_token(cluster)
    place = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    unbound = base64.urlsafe_b64encode(json.dumps({**place, "rv": -1}).encode()).decode().rstrip("=")
    async with FaultProxy(installed.kubeconfig()) as proxy:
        fault = proxy.inject(answered(410, "GET", "continue=", body=expired(unbound)))
        async with client(proxy.kubeconfig(tmp_path), cluster.namespace) as beyond:
            listed = await beyond.api.list(JOBS, cluster.namespace)
    assert fault.hits == 1
    assert [item["metadata"]["name"] for item in listed] == [f"j{number}" for number in range(5)]


async def test_a_list_that_expires_without_a_way_on_begins_again(
    installed: Server, cluster: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_SIZE", 2)
    for number in range(5):
        await cluster.create_job(f"j{number}")
    async with FaultProxy(installed.kubeconfig()) as proxy:
        fault = proxy.inject(answered(410, "GET", "continue=", body=expired(""), times=2))
        async with client(proxy.kubeconfig(tmp_path), cluster.namespace) as beyond:
            listed = await beyond.api.list(JOBS, cluster.namespace)
    assert fault.hits == 2
    assert [item["metadata"]["name"] for item in listed] == [f"j{number}" for number in range(5)], "none is there twice"


async def test_a_list_whose_pages_lead_back_is_given_up(installed: Server, cluster: Client, tmp_path: Path) -> None:
    page = json.dumps({"metadata": {"resourceVersion": "1", "continue": "again"}, "items": []})
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(answered(200, "GET", "limit=", body=page, times=None))
        async with client(proxy.kubeconfig(tmp_path), cluster.namespace) as beyond:
            with pytest.raises(Unreachable, match="curationjobs does not end"):
                await beyond.api.list(JOBS, cluster.namespace)


@pytest.mark.parametrize("items", [[], [{"metadata": {"uid": "u", "name": "n", "resourceVersion": "1"}}]])
async def test_a_list_of_pages_that_bring_nothing_new_is_given_up(
    cluster: Client, monkeypatch: pytest.MonkeyPatch, items: list[Document]
) -> None:
    asked = 0

    async def send(*_: object, **__: object) -> Document:
        nonlocal asked
        asked += 1
        return {"metadata": {"resourceVersion": "1", "continue": f"token-{asked}"}, "items": items}

    monkeypatch.setattr(cluster.connection, "send", send)
    for found in (cluster.api.each(JOBS), cluster.api.list_metadata(JOBS)):
        with pytest.raises(Unreachable, match="curationjobs does not end"):
            _ = [item async for item in found]


async def test_objects_that_are_gone_through_one_by_one_outlive_the_history_of_the_server(
    installed: Server, cluster: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_SIZE", 2)
    for number in range(5):
        await cluster.create_job(f"j{number}")
    async with FaultProxy(installed.kubeconfig()) as proxy:
        fault = proxy.inject(answered(410, "GET", "continue=", body=expired(""), times=2))
        async with client(proxy.kubeconfig(tmp_path), cluster.namespace) as beyond:
            seen = {item["metadata"]["name"] async for item in beyond.api.each(JOBS, cluster.namespace)}
        assert fault.hits == 2
        proxy.inject(answered(410, "GET", "continue=", body=expired(""), times=None))
        async with client(proxy.kubeconfig(tmp_path), cluster.namespace) as beyond:
            with pytest.raises(APIError, match="410"):
                _ = [item async for item in beyond.api.each(JOBS, cluster.namespace)]
    assert seen == {f"j{number}" for number in range(5)}


async def test_a_list_that_is_refused_without_a_way_on_raises(
    installed: Server, cluster: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_SIZE", 2)
    for number in range(3):
        await cluster.create_job(f"j{number}")
    twice = expired(await first_token(cluster))
    for body in (expired(""), twice):
        async with FaultProxy(installed.kubeconfig()) as proxy:
            proxy.inject(answered(410, "GET", "continue=", body=body, times=None))
            async with client(proxy.kubeconfig(tmp_path), cluster.namespace) as beyond:
                with pytest.raises(APIError, match="410 Expired"):
                    await beyond.api.list(JOBS, cluster.namespace)


async def test_a_list_can_be_selected(cluster: Client) -> None:
    await cluster.create_job("a")
    await cluster.create_job("b")
    await cluster.label("b", "x")
    selected = await cluster.api.list(JOBS, cluster.namespace, label_selector="team=x")
    assert [job["metadata"]["name"] for job in selected] == ["b"]
    by_field = await cluster.api.list(JOBS, cluster.namespace, field_selector="metadata.name=a")
    assert [job["metadata"]["name"] for job in by_field] == ["a"]


def config_map(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


async def test_a_creation_says_whether_the_name_was_free(cluster: Client) -> None:
    created = await cluster.api.create(CONFIG_MAPS, cluster.namespace, config_map("a"))
    assert isinstance(created, Created)
    assert created.obj["metadata"]["uid"]
    assert await cluster.api.create(CONFIG_MAPS, cluster.namespace, config_map("a")) == Exists()


async def test_a_creation_that_is_invalid_or_has_no_namespace_is_refused(cluster: Client) -> None:
    invalid = await cluster.api.create(CONFIG_MAPS, cluster.namespace, config_map("Not A Name"))
    assert isinstance(invalid, Refused)
    assert invalid.code == 422
    nowhere = await cluster.api.create(CONFIG_MAPS, "there-is-no-such-namespace", config_map("a"))
    assert isinstance(nowhere, Refused)
    assert nowhere.code == 404


async def test_a_creation_whose_answer_is_lost_is_unknown(installed: Server, cluster: Client, tmp_path: Path) -> None:
    async with FaultProxy(installed.kubeconfig()) as proxy:
        fault = proxy.inject(lost_answer("POST"))
        async with client(proxy.kubeconfig(tmp_path), cluster.namespace) as beyond:
            answer = await beyond.api.create(CONFIG_MAPS, cluster.namespace, config_map("a"))
    assert isinstance(answer, Unknown)
    assert fault.upstream_status == 201
    assert await cluster.api.read_config_map(cluster.namespace, "a") is not None


async def test_a_deletion_takes_exactly_the_object_and_version_that_was_meant(cluster: Client) -> None:
    made = await cluster.api.create(CONFIG_MAPS, cluster.namespace, config_map("a"))
    assert isinstance(made, Created)
    uid, version = made.obj["metadata"]["uid"], made.obj["metadata"]["resourceVersion"]

    async def delete(uid: str, version: str | None) -> bool:
        return await cluster.api.delete(CONFIG_MAPS, cluster.namespace, "a", uid=uid, resource_version=version)

    assert not await delete("00000000-0000-0000-0000-000000000000", None)
    assert not await delete(uid, str(int(version) - 1))
    assert await cluster.api.read_config_map(cluster.namespace, "a") is not None
    assert await delete(uid, version)
    assert not await delete(uid, version)
    assert await cluster.api.read_config_map(cluster.namespace, "a") is None


async def test_a_terminating_namespace_is_seen_and_takes_nothing_new(
    cluster: Client, kubectl: Kubectl, namespace: str
) -> None:
    await cluster.create_job()  # its finalizer keeps the namespace
    assert not await cluster.api.namespace_terminating(namespace)
    kubectl("delete", "namespace", namespace, "--wait=false")
    await eventually(lambda: cluster.api.namespace_terminating(namespace), "the namespace did not terminate")
    answer = await cluster.api.create(CONFIG_MAPS, namespace, config_map("a"))
    assert isinstance(answer, Refused)
    assert answer.code == 403
    found = await cluster.api.get(JOBS, namespace, "a")
    if found is not None and "deletionTimestamp" not in found["metadata"]:
        await cluster.api.delete(JOBS, namespace, "a", uid=found["metadata"]["uid"], resource_version=None)
    await cluster.writer.patch(
        JOBS,
        namespace,
        "a",
        resource_version=(await cluster.get_job())["metadata"]["resourceVersion"],
        body={"metadata": {"finalizers": None}},
        subresource=None,
    )
    assert await cluster.api.namespace_terminating("there-is-no-such-namespace")


async def test_more_calls_than_slots_wait_for_their_turn_and_all_are_answered(installed: Server) -> None:
    async with client(installed.kubeconfig(), "default") as made:
        found = await asyncio.gather(*(made.api.get(NAMESPACES, None, "default") for _ in range(300)))
    assert all(namespace is not None for namespace in found)
