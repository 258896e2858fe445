"""The files of the cluster access are watched and renewed; one that is no use changes nothing."""

import os
import ssl
from pathlib import Path

import pytest
from aiohttp import web
from kubernetes.aio.config import incluster_config

from curation.cluster.connection import Connection, connect
from curation.cluster.credentials import ConfigurationError
from tests.harness.certificates import self_signed
from tests.unit.cluster.test_credentials import write_kubeconfig


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


async def connected(path: Path, **user: object) -> Connection:
    return await connect(environ={"KUBECONFIG": write_kubeconfig(path, user)})


def files(connection: Connection) -> set[str]:
    return {path.name for path in connection.credentials.files()}


async def test_a_kubeconfig_that_was_changed_is_used(tmp_path: Path) -> None:
    async with await connected(tmp_path / "k", token="t1") as connection:
        assert files(connection) == {"k"}
        write_kubeconfig(tmp_path / "k", {"token": "t2"})
        await connection.credentials.renew_from_files()
        assert await connection.credentials.authorization() == "Bearer t2"


async def test_a_token_file_is_watched(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t1")
    async with await connected(tmp_path / "k", tokenFile=str(tmp_path / "token")) as connection:
        assert files(connection) == {"k", "token"}
        (tmp_path / "token").write_text("t2")
        await connection.credentials.renew_from_files()
        assert await connection.credentials.authorization() == "Bearer t2"


@pytest.mark.parametrize("text", ["", "{", "kind: Config", "- a list"])
async def test_a_kubeconfig_that_is_no_use_changes_nothing(tmp_path: Path, text: str) -> None:
    async with await connected(tmp_path / "k", token="t1") as connection:
        (tmp_path / "k").write_text(text)
        with pytest.raises(ConfigurationError, match=r"."):
            await connection.credentials.renew_from_files()
        (tmp_path / "k").unlink()
        with pytest.raises(ConfigurationError, match=r"."):
            await connection.credentials.renew_from_files()
        assert await connection.credentials.authorization() == "Bearer t1"


async def test_a_kubeconfig_that_names_another_server_is_refused_and_its_token_goes_nowhere(tmp_path: Path) -> None:
    async with await connected(tmp_path / "k", token="t1") as connection:
        write_kubeconfig(tmp_path / "k", {"token": "of another"}, server="http://127.0.0.1:2")
        with pytest.raises(ConfigurationError, match=r"another server, http://127\.0\.0\.1:2; restart the operator"):
            await connection.credentials.renew_from_files()
        assert await connection.credentials.authorization() == "Bearer t1"


async def test_a_client_certificate_whose_key_is_anothers_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        self_signed(tmp_path, name)
    user: dict[str, object] = {"client-certificate": str(tmp_path / "a.pem"), "client-key": str(tmp_path / "a.key")}
    kubeconfig = write_kubeconfig(tmp_path / "k", user, server="https://127.0.0.1:1")
    async with await connect(environ={"KUBECONFIG": kubeconfig}) as connection:
        assert files(connection) == {"k", "a.pem", "a.key"}
        (tmp_path / "a.pem").write_bytes((tmp_path / "b.pem").read_bytes())
        with pytest.raises(ConfigurationError, match=r"."):
            await connection.credentials.renew_from_files()
        (tmp_path / "a.key").write_bytes((tmp_path / "b.key").read_bytes())
        await connection.credentials.renew_from_files()


async def serve(context: ssl.SSLContext, port: int = 0) -> tuple[web.AppRunner, int]:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"kind": "APIVersions"})

    app = web.Application()
    app.router.add_get("/{any:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    return runner, runner.addresses[0][1]


async def test_in_a_pod_the_renewed_authority_of_the_api_server_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old_pem, old = self_signed(tmp_path / "old", "127.0.0.1")
    new_pem, new = self_signed(tmp_path / "new", "127.0.0.1")
    authority = tmp_path / "ca.crt"
    authority.write_bytes(old_pem.read_bytes())
    (tmp_path / "token").write_text("t1")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority))
    runner, port = await serve(old)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
    async with await connect(environ={"KUBERNETES_SERVICE_HOST": "127.0.0.1"}) as connection:
        assert files(connection) == {"ca.crt", "token"}
        assert await connection.send("GET", "/api") == {"kind": "APIVersions"}
        await runner.cleanup()
        runner, _ = await serve(new, port)
        authority.write_bytes(b"no certificate")
        with pytest.raises(ConfigurationError, match=r"."):
            await connection.credentials.renew_from_files()
        authority.write_bytes(new_pem.read_bytes())
        await connection.credentials.renew_from_files()
        assert await connection.send("GET", "/api") == {"kind": "APIVersions"}
        await runner.cleanup()
