"""No bad answer to a list or a watch leaves kopf deaf, or ends it; only a server that went back in time ends us.

Matrix: each way to refuse a watch, to end one, and to spoil a list, before a real API server; what counts as progress.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from curation.cluster import watching as module
from curation.cluster.request_labels import Asked
from curation.cluster.resources import JOBS
from curation.cluster.watching import Watching
from testing.controlplane.connection import Connection as Server
from tests.faults.proxy import FaultProxy, ProxyFault, answered

from .conftest import Client, client, eventually
from .shell import Shell

LIST = r"/curationjobs\?limit="
FIRST_PAGE = r"/curationjobs\?limit=\d+$"
LATER_PAGE = r"/curationjobs\?.*continue="
WATCH = "watch=true"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF", (0.0, 0.05))
    monkeypatch.setattr(module, "ABSENT_PAUSE", 0.05)


def status(code: int, **more: Any) -> str:
    """A metav1.Status."""
    return json.dumps({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "m", **more})


def error(**what: Any) -> str:
    """An ERROR event, as a line of a watch."""
    return json.dumps({"type": "ERROR", "object": {"kind": "Status", **what}}, separators=(",", ":")) + "\n"


REFUSED = {
    "410": answered(410, "GET", WATCH, times=3, body=status(410, reason="Expired")),
    "400": answered(400, "GET", WATCH, times=3, body=status(400)),
    "404 of a moment": answered(404, "GET", WATCH, times=3, body="404 page not found"),
    "405": answered(405, "GET", WATCH, times=3, body=status(405)),
    "422": answered(422, "GET", WATCH, times=3, body=status(422)),
    "204": answered(204, "GET", WATCH, times=3),
    "304": answered(304, "GET", WATCH, times=3),
    "500": answered(500, "GET", WATCH, times=3, body="not JSON"),
    "429 until a date": answered(
        429, "GET", WATCH, times=2, body=status(429), headers={"Retry-After": "Sat, 01 Jan 2050 00:00:00 GMT"}
    ),
}
ENDED = {
    "expired": error(code=410, reason="Expired"),
    "internal error": error(code=500, reason="InternalError"),
    "timeout": error(code=504, reason="Timeout"),
    "too many requests": error(code=429),
    "without a code": error(message="m"),
    "null": '{"type":"ERROR","object":null}\n',
    "HTML": "<html>\n<body>Bad gateway</body>\n</html>\n",
    "a list": "[1]\n",
    "an object without metadata": '{"type":"ADDED","object":{}}\n',
    "a bookmark of nothing": '{"type":"BOOKMARK","object":{}}\n',
    "cut off": '{"type":"ADDED","object":{"metadata":{"name":"a',
    "cut off with a line end": '{"type":"ADDED","object":{"metadata":{"name":"a\n',
    "nothing at all": "",
}
SPOILT = {
    "400": answered(400, "GET", LIST, times=3, body=status(400)),
    "404 of a moment": answered(404, "GET", LIST, times=3, body="404 page not found"),
    "422": answered(422, "GET", LIST, times=3, body=status(422)),
    "204": answered(204, "GET", LIST, times=3),
    "HTML": answered(200, "GET", LIST, times=3, body="<html></html>"),
    "an empty object": answered(200, "GET", LIST, times=3, body="{}"),
    "a list of nothing": answered(
        200, "GET", LIST, times=3, body='{"metadata":{"resourceVersion":"1"},"items":[null]}'
    ),
    "a version that is none": answered(200, "GET", LIST, times=3, body='{"metadata":{"resourceVersion":"x"}}'),
    "the first page expired": answered(410, "GET", FIRST_PAGE, times=3, body=status(410)),
    "a later page expired": answered(410, "GET", LATER_PAGE, times=3, body=status(410, reason="Expired")),
    "a later page is bad": answered(400, "GET", LATER_PAGE, times=3, body=status(400)),
}


async def goes_on(installed: Server, cluster: Client, folder: Path, fault: ProxyFault, *, jobs: int = 3) -> None:
    """A kopf that meets the fault sees in the end what was there, and what comes later; the process goes on."""
    for number in range(jobs):
        await cluster.create_job(f"before-{number}")
    lost: list[str] = []
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(fault)
        async with client(proxy.kubeconfig(folder), cluster.namespace, cuts=True) as beyond:
            shell = Shell(beyond.connection, cluster.namespace, Watching(lost=lost.append))
            try:
                for number in range(jobs):
                    await shell.sees(f"before-{number}")

                async def hit() -> bool:
                    assert not shell.task.done(), "kopf has ended"
                    return fault.hits == fault.times

                await eventually(hit, "the fault was not met so often")
                await cluster.create_job("later")
                await shell.sees("later")
                assert not shell.task.done()
            finally:
                await shell.end()
    assert lost == []


@pytest.mark.parametrize("name", REFUSED)
async def test_a_watch_that_is_refused_begins_again(
    installed: Server, cluster: Client, tmp_path: Path, name: str
) -> None:
    fault = REFUSED[name]
    fault.hits = 0
    await goes_on(installed, cluster, tmp_path, fault)


@pytest.mark.parametrize("name", ENDED)
async def test_a_watch_that_ends_in_whatever_way_begins_again(
    installed: Server, cluster: Client, tmp_path: Path, name: str
) -> None:
    headers = {"Content-Type": "application/json"}
    await goes_on(installed, cluster, tmp_path, answered(200, "GET", WATCH, times=3, body=ENDED[name], headers=headers))


@pytest.mark.parametrize("name", SPOILT)
async def test_a_list_that_cannot_be_read_to_its_end_begins_again(
    installed: Server, cluster: Client, tmp_path: Path, name: str
) -> None:
    fault = SPOILT[name]
    fault.hits = 0
    await goes_on(installed, cluster, tmp_path, fault)


async def test_a_list_whose_pages_lead_back_is_not_followed_for_ever_and_is_no_progress(
    installed: Server, cluster: Client, tmp_path: Path
) -> None:
    """As through a proxy that takes all pages for one: each answer is the first page, with its token."""
    await cluster.create_job("a")
    item = await cluster.get_job("a")
    page = json.dumps({"metadata": {"resourceVersion": "1", "continue": "again"}, "items": [item]})
    alive: list[str] = []
    async with FaultProxy(installed.kubeconfig()) as proxy:
        fault = proxy.inject(answered(200, "GET", LIST, times=None, body=page))
        async with client(proxy.kubeconfig(tmp_path), cluster.namespace, cuts=True) as beyond:
            watching = Watching(alive=lambda *place: alive.append(place[0]))
            shell = Shell(beyond.connection, cluster.namespace, watching)
            try:
                until = 20 * 2

                async def asked() -> bool:
                    return fault.hits >= until

                await eventually(asked, "it is not asked again")
                assert len(alive) <= 2 * module.BEGINNINGS, "a list that comes no further is taken for progress"
                proxy.heal()
                await cluster.create_job("later")
                await shell.sees("later")
            finally:
                await shell.end()


async def test_a_long_list_is_progress_page_by_page_and_a_later_list_is_reported(
    installed: Server, cluster: Client, tmp_path: Path
) -> None:
    for number in range(7):
        await cluster.create_job(f"a-{number}")
    alive: list[tuple[str, str]] = []
    relisted: list[str] = []
    watching = Watching(alive=lambda *place: alive.append(place), relisted=relisted.append)
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(answered(200, "GET", WATCH, body=error(code=410)))
        async with client(proxy.kubeconfig(tmp_path), cluster.namespace, cuts=True) as beyond:
            shell = Shell(beyond.connection, cluster.namespace, watching)
            try:

                async def reported() -> bool:
                    return bool(relisted)

                await eventually(reported, "the second list was not reported")
            finally:
                await shell.end()
    assert relisted == ["curationjobs"]
    assert alive == [("curationjobs", cluster.namespace)] * 8  # two lists of four pages


async def test_a_server_behind_a_path_is_watched_like_any_other(
    installed: Server, cluster: Client, tmp_path: Path
) -> None:
    """As behind Rancher: its requests are distinguished, compared and reported by the path that the server knows."""
    alive: list[tuple[str, str]] = []
    asked: list[tuple[str, str, str]] = []
    await cluster.create_job("a")
    async with FaultProxy(installed.kubeconfig(), prefix="/k8s/clusters/c-1") as proxy:
        ended = proxy.inject(answered(200, "GET", WATCH, times=2, body=error(code=500)))

        def observe(what: Asked, *_: object) -> None:
            asked.append((what.verb, what.resource, what.namespace))

        kubeconfig = proxy.kubeconfig(tmp_path)
        async with client(kubeconfig, cluster.namespace, observer=observe, cuts=True) as beyond:
            # What comes in is cut there too.
            assert "managedFields" in (await cluster.get_job("a"))["metadata"]
            each = [await beyond.get_job("a"), *await beyond.api.list(JOBS, cluster.namespace)]
            assert len(each) == 2
            assert not any("managedFields" in found["metadata"] for found in each)
            watching = Watching(alive=lambda *place: alive.append(place))
            shell = Shell(beyond.connection, cluster.namespace, watching)
            try:
                await shell.sees("a")

                async def over() -> bool:
                    return ended.hits == 2

                await eventually(over, "the watch did not begin again")
                await beyond.create_job("b")
                await shell.sees("b")
            finally:
                await shell.end()
    assert set(alive) == {("curationjobs", cluster.namespace)}
    assert {("list", "curationjobs", cluster.namespace), ("watch", "curationjobs", cluster.namespace)} <= set(asked)


async def said_by(watching: Watching, lost: list[str], kubeconfig: Path, namespace: str) -> str:
    """The sentence with which kopf's watching ends the process."""
    async with client(kubeconfig, namespace) as beyond:
        shell = Shell(beyond.connection, namespace, watching)
        try:

            async def reported() -> bool:
                return bool(lost)

            await eventually(reported, "nothing was reported")
        finally:
            await shell.end()
    return lost[0]


BACK = f"the API server has gone back in time: curationjobs had resourceVersion {10**15} and has "


async def test_a_watch_that_goes_on_from_the_servers_future_ends_the_process(
    installed: Server, cluster: Client, tmp_path: Path
) -> None:
    event = await cluster.create_job("a")
    event["metadata"]["resourceVersion"] = str(10**15)
    line = json.dumps({"type": "MODIFIED", "object": event}, separators=(",", ":")) + "\n"
    lost: list[str] = []
    async with FaultProxy(installed.kubeconfig()) as proxy:
        proxy.inject(answered(200, "GET", WATCH, body=line))
        said = await said_by(Watching(lost=lost.append), lost, proxy.kubeconfig(tmp_path), cluster.namespace)
    assert said.startswith(BACK)


async def test_a_list_that_is_behind_what_was_seen_ends_the_process(installed: Server, cluster: Client) -> None:
    lost: list[str] = []
    watching = Watching(lost=lost.append)
    watching.saw("curationjobs", 10**15)  # in the answer to a write
    assert (await said_by(watching, lost, installed.kubeconfig(), cluster.namespace)).startswith(BACK)
