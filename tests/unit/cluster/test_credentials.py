"""Where the cluster access comes from, and that it stays fresh.

Matrix: KUBECONFIG (one file, several, none there), service account, nothing; token inline, in a file, from a plugin.
A token that is replaced while requests are under way, from each source.
"""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from kubernetes.aio.config import incluster_config

from curation.cluster import credentials as module
from curation.cluster.answers import Failure
from curation.cluster.connection import connect
from curation.cluster.credentials import ClusterCredentials, ConfigurationError, load
from curation.cluster.kubeconfig import Overrides


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


def write_kubeconfig(
    path: Path, user: dict[str, object], *, context: str = "c", server: str = "http://127.0.0.1:1", current: bool = True
) -> str:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": {"server": server}}],
        "users": [{"name": context, "user": user}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": context, "namespace": f"ns-{context}"}}],
    }
    if current:
        document["current-context"] = context
    path.write_text(yaml.safe_dump(document))
    return str(path)


def age(credentials: ClusterCredentials) -> None:
    """Let the minute pass after which credentials are read again."""
    credentials._refresh_at = credentials._renew_at = 0.0


async def test_kubeconfig_gives_server_token_and_namespace(tmp_path: Path) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "k", {"token": "t1"})
    async with await connect(environ={"KUBECONFIG": kubeconfig}) as connection:
        assert connection.server == "http://127.0.0.1:1"
        assert connection.default_namespace == "ns-c"
        assert await connection.credentials.authorization() == "Bearer t1"


async def test_of_several_files_the_first_current_context_wins_as_in_kubectl(tmp_path: Path) -> None:
    first = write_kubeconfig(tmp_path / "1", {"token": "t1"}, context="one", server="http://one")
    second = write_kubeconfig(tmp_path / "2", {"token": "t2"}, context="two", server="http://two")
    missing = str(tmp_path / "missing")
    environ = {"KUBECONFIG": os.pathsep.join((missing, first, second))}
    assert (await load(environ)).configuration.host == "http://one"
    assert (await load(environ, overrides=Overrides(context="two"))).configuration.host == "http://two"


async def test_no_kubeconfig_and_no_pod_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match="Set KUBECONFIG"):
        await load({})


async def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere does not exist"):
        await load({"KUBECONFIG": str(tmp_path / "nowhere")})


async def test_a_broken_kubeconfig_is_named(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("current-context: a\nclusters: []\ncontexts: []\n")
    with pytest.raises(ConfigurationError, match=r"kubeconfig .*k: .*name a"):
        await load({"KUBECONFIG": str(tmp_path / "k")})


async def test_a_token_file_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t1\n")
    kubeconfig = write_kubeconfig(tmp_path / "k", {"tokenFile": str(tmp_path / "token")})
    credentials = await load({"KUBECONFIG": kubeconfig})
    assert await credentials.authorization() == "Bearer t1"
    (tmp_path / "token").write_text("t2\n")
    assert await credentials.authorization() == "Bearer t1"
    age(credentials)
    assert await credentials.authorization() == "Bearer t2"


async def test_a_plugin_is_asked_again_when_its_token_expires_or_is_refused(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    long_lived = json.dumps({**answer, "status": {"token": "t$n", "expirationTimestamp": "2999-01-01T00:00:00Z"}})
    count = tmp_path / "count"
    plugin.write_text(
        f"#!/bin/sh\nn=$(( $(cat {count} 2>/dev/null || echo 0) + 1 ))\n"
        f"echo $n > {count}\ncat <<END\n{long_lived}\nEND\n"
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    user: dict[str, object] = {
        "exec": {"apiVersion": answer["apiVersion"], "command": str(plugin), "interactiveMode": "Never"}
    }
    credentials = await load({"KUBECONFIG": write_kubeconfig(tmp_path / "k", user)})
    assert await credentials.authorization() == "Bearer t1"
    age(credentials)
    assert await credentials.authorization() == "Bearer t1"  # not expired: the plugin is not run
    assert await credentials.renew()  # the server said 401
    assert await credentials.authorization() == "Bearer t2"
    assert not await credentials.renew()  # not for every 401 of a burst


class TokenServer:
    """An API server that knows one token, and takes from 0 to 0.2 s for its answer."""

    def __init__(self) -> None:
        self.token = "t1"
        self.asked = 0
        self.address = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        known = request.headers.get("Authorization", "").lower() == f"bearer {self.token}"
        await asyncio.sleep(int(request.query.get("n", "0")) * 0.02)
        return web.json_response({"n": request.query.get("n")}, status=200 if known else 401)


@pytest.fixture
async def server() -> AsyncIterator[TokenServer]:
    serving = TokenServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", serving.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    serving.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield serving
    await runner.cleanup()


def slow_plugin(tmp_path: Path) -> dict[str, object]:
    """A user whose plugin takes 0.1 s to print what is in the file ``token``, and counts in ``runs``."""
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "$t"}}
    plugin = tmp_path / "plugin"
    plugin.write_text(
        f"#!/bin/sh\nt=$(cat {tmp_path}/token)\necho >> {tmp_path}/runs\nsleep 0.1\n"
        f"cat <<END\n{json.dumps(answer)}\nEND\n"
    )
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": answer["apiVersion"], "command": str(plugin), "interactiveMode": "Never"}}


@pytest.mark.parametrize("source", ["plugin", "file"])
async def test_all_requests_that_are_under_way_when_a_token_is_replaced_succeed(
    tmp_path: Path, server: TokenServer, source: str
) -> None:
    (tmp_path / "token").write_text("t1")
    user: dict[str, object] = slow_plugin(tmp_path) if source == "plugin" else {"tokenFile": str(tmp_path / "token")}
    kubeconfig = write_kubeconfig(tmp_path / "k", user, server=server.address)
    async with await connect(environ={"KUBECONFIG": kubeconfig}) as connection:
        assert await connection.send("GET", "/first") == {"n": None}
        (tmp_path / "token").write_text("t2")
        server.token, server.asked = "t2", 0
        # Their refusals come before the renewal, during it and after it.
        answers = await asyncio.gather(*(connection.send("GET", "/", query={"n": str(n)}) for n in range(10)))
        assert answers == [{"n": str(n)} for n in range(10)]
        assert server.asked == 20
    if source == "plugin":
        assert (tmp_path / "runs").read_text() == "\n" * 2


async def test_a_server_that_goes_on_refusing_is_asked_twice_and_no_more(tmp_path: Path, server: TokenServer) -> None:
    (tmp_path / "token").write_text("wrong")
    kubeconfig = write_kubeconfig(tmp_path / "k", slow_plugin(tmp_path), server=server.address)
    async with await connect(environ={"KUBECONFIG": kubeconfig}) as connection:
        for n in range(5):
            answer = await connection.send("GET", "/", query={"n": "0"})
            assert isinstance(answer, Failure), n
            assert answer.code == 401
        assert server.asked == 6
    assert (tmp_path / "runs").read_text() == "\n" * 2


class Reading:
    """Takes the place of `Credentials._read`: it lasts until it is ended."""

    def __init__(self) -> None:
        self.begun = 0
        self.begins = asyncio.Event()
        self.end = asyncio.Event()

    async def __call__(self) -> None:
        self.begun += 1
        self.begins.set()
        await self.end.wait()


async def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ClusterCredentials, Reading]:
    credentials = await load({"KUBECONFIG": write_kubeconfig(tmp_path / "k", {"token": "t"})})
    reading = Reading()
    monkeypatch.setattr(credentials, "_read", reading)
    return credentials, reading


async def test_a_renewal_goes_on_for_the_others_when_the_one_that_began_it_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials, reading = await loaded(tmp_path, monkeypatch)
    first, *others = (asyncio.create_task(credentials.renew()) for _ in range(3))
    await reading.begins.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    reading.end.set()
    assert await asyncio.gather(*others) == [True, True]
    assert reading.begun == 1


async def test_a_renewal_that_does_not_end_is_given_up_and_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RENEWAL_SECONDS", 0.05)
    credentials, reading = await loaded(tmp_path, monkeypatch)
    assert not await credentials.renew()
    assert "no answer within 0.05 s" in caplog.text
    assert not await credentials.renew()
    assert reading.begun == 1
    age(credentials)
    reading.end.set()
    assert await credentials.renew()


async def test_the_end_of_the_connection_ends_a_renewal_and_fails_those_that_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await connect(environ={"KUBECONFIG": write_kubeconfig(tmp_path / "k", {"token": "t"})})
    reading, before = Reading(), asyncio.all_tasks()
    monkeypatch.setattr(connection.credentials, "_read", reading)
    waiting = asyncio.create_task(connection.credentials.renew())
    await reading.begins.wait()
    await connection.close()
    assert await waiting is False
    assert asyncio.all_tasks() == before


async def test_credentials_that_cannot_be_refreshed_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "token").write_text("t1")
    kubeconfig = write_kubeconfig(tmp_path / "k", {"tokenFile": str(tmp_path / "token")})
    credentials = await load({"KUBECONFIG": kubeconfig})
    (tmp_path / "token").unlink()
    age(credentials)
    assert await credentials.authorization() == "Bearer t1"
    assert "Cannot refresh the credentials" in caplog.text


async def test_a_service_account_token_is_read_again_and_its_namespace_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(tmp_path / "ca.crt"))
    (tmp_path / "token").write_text("t1\n")
    (tmp_path / "ca.crt").write_text("any")
    (tmp_path / "namespace").write_text("curation-system\n")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    credentials = await load({"KUBERNETES_SERVICE_HOST": "fd00::1"})
    assert credentials.configuration.host == "https://[fd00::1]:443"
    assert credentials.namespace == "curation-system"
    assert await credentials.authorization() == "Bearer t1"
    (tmp_path / "token").write_text("t2\n")
    age(credentials)
    assert await credentials.renew()
    assert await credentials.authorization() == "Bearer t2"


async def test_the_proxy_of_the_environment_is_used_by_the_rules_of_go(tmp_path: Path) -> None:
    kubeconfig = write_kubeconfig(tmp_path / "config", {"token": "t"}, server="https://10.1.2.3:6443")
    environ = {"KUBECONFIG": kubeconfig, "HTTPS_PROXY": "http://proxy:3128"}
    assert (await load(environ)).configuration.proxy == "http://proxy:3128"
    assert (await load({**environ, "NO_PROXY": "10.0.0.0/8"})).configuration.proxy is None
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY is 'socks5://proxy'"):
        await load({**environ, "HTTPS_PROXY": "socks5://proxy"})
