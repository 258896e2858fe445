"""Which proxy leads to the API server: the rules of Go's httpproxy, case by case."""

from pathlib import Path

import pytest

from curation.cluster.answers import Unreachable
from curation.cluster.connection import connect
from curation.cluster.proxies import ProxyUnusable, goes_straight, proxy_for, without_credentials

API = "https://api.example.com:6443"
V6 = "https://[fd00::1]:6443"

STRAIGHT = [
    (API, "*"),
    (API, "other, *"),
    (API, "example.com"),
    (API, "com"),
    (API, ".example.com"),
    (API, "*.example.com"),
    (API, "API.Example.COM"),
    (API, " other.example , api.example.com "),
    (API, "api.example.com:6443"),
    (API, ".example.com:6443"),
    ("https://api.example.com", "api.example.com:443"),
    ("https://api.example.com.:6443", "api.example.com"),
    ("https://10.1.2.3:6443", "10.0.0.0/8"),
    ("https://10.1.2.3:6443", "10.9.9.9/8"),
    ("https://10.1.2.3:6443", "10.1.2.3"),
    ("https://10.1.2.3:6443", "10.1.2.3:6443"),
    (V6, "fd00::1"),
    (V6, "fd00:0:0::1"),
    (V6, "[fd00::1]"),
    (V6, "[fd00::1]:6443"),
    (V6, "fd00::/8"),
    ("https://[::ffff:10.1.2.3]:6443", "10.0.0.0/8"),
    ("https://localhost:6443", ""),
    ("https://127.0.0.1:6443", ""),
    ("https://127.9.9.9:6443", ""),
    ("https://[::1]:6443", ""),
]
PROXIED = [
    (API, ""),
    (API, ","),
    (API, "ample.com"),
    (API, "api.example.com:443"),
    (API, ".api.example.com"),
    (API, "*.api.example.com"),
    (API, "*example.com"),
    (API, "*api.example.com"),
    ("https://example.com:6443", ".example.com"),
    ("https://example.com:6443", "*.example.com"),
    (API, "10.0.0.0/8"),
    (API, ":6443"),
    ("https://10.1.2.3:6443", "10.1.2.3:443"),
    ("https://10.1.2.3:6443", "192.168.0.0/16"),
    ("https://10.1.2.3:6443", "10.0.0.0/99"),
    (V6, "[fd00::1]:443"),
    (V6, "fd00::2"),
    (V6, "fe80::/10"),
]


@pytest.mark.parametrize(("server", "no_proxy"), STRAIGHT)
def test_no_proxy_keeps_these_from_the_proxy(server: str, no_proxy: str) -> None:
    assert goes_straight(server, no_proxy)
    assert proxy_for(server, {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": no_proxy}) is None


@pytest.mark.parametrize(("server", "no_proxy"), PROXIED)
def test_no_proxy_does_not_cover_these(server: str, no_proxy: str) -> None:
    assert not goes_straight(server, no_proxy)
    assert proxy_for(server, {"https_proxy": "http://proxy:3128", "no_proxy": no_proxy}) == "http://proxy:3128"


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"HTTP_PROXY": "http://proxy"}, None),
        ({"ALL_PROXY": "http://proxy"}, None),
        ({"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "https://a:b@[fd00::3]:3128"}, "https://a:b@[fd00::3]:3128"),
        ({"HTTPS_PROXY": "http://upper", "https_proxy": "http://lower"}, "http://upper"),
        ({"HTTPS_PROXY": "", "https_proxy": "http://lower"}, "http://lower"),
    ],
)
def test_the_proxy_is_that_of_the_servers_scheme(environ: dict[str, str], proxy: str | None) -> None:
    assert proxy_for(API, environ) == proxy


@pytest.mark.parametrize("proxy", ["socks5://user:secret@proxy:1080", "http://", "http://proxy:port", "http://[::1"])
def test_a_proxy_that_cannot_be_used_is_refused_by_its_variable_and_without_its_password(proxy: str) -> None:
    with pytest.raises(ProxyUnusable, match=r"HTTPS_PROXY is .*NO_PROXY") as refused:
        proxy_for(API, {"HTTPS_PROXY": proxy})
    assert "secret" not in str(refused.value)


def test_a_message_names_a_proxy_without_its_password() -> None:
    assert without_credentials("http://user:secret@proxy:3128") == "http://proxy:3128"


async def test_an_error_names_the_proxy_that_failed_and_not_its_password(tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    kubeconfig.write_text(
        "{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: 'https://10.1.2.3'}}],"
        " users: [{name: u, user: {token: t}}], contexts: [{name: c, context: {cluster: c, user: u}}]}"
    )
    environ = {"KUBECONFIG": str(kubeconfig), "HTTPS_PROXY": "http://user:secret@127.0.0.1:1"}
    async with await connect(environ=environ) as connection:
        with pytest.raises(Unreachable, match=r"\(through the proxy http://127\.0\.0\.1:1\)") as failed:
            await connection.send("GET", "/version")
    assert "secret" not in str(failed.value)
