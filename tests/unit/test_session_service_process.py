"""`python -m testing.sessions`: the service as a process of its own, as the demo starts it."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def started(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    command = [sys.executable, "-m", "testing.sessions", "--port", "0", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def status(url: str, headers: dict[str, str] | None = None) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_the_process_prints_its_url_serves_and_stops_on_sigterm() -> None:
    with started("--require-header", "Authorization=Bearer t") as (process, url):
        assert status(f"{url}/healthz") == 200
        assert status(f"{url}/sessions") == 401
        assert status(f"{url}/sessions", {"Authorization": "Bearer t"}) == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_on_an_ipv6_address_it_prints_a_valid_url() -> None:
    with started("--host", "::1") as (_, url):
        assert url.startswith("http://[::1]:")
        assert status(f"{url}/healthz") == 200


def test_the_process_stops_with_its_parent_when_asked_to() -> None:
    with started("--until-stdin-closes") as (process, url):
        assert status(f"{url}/healthz") == 200
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.mark.parametrize("text", ["nothing", "=value"])
def test_a_required_header_without_name_or_value_is_a_usage_error(text: str) -> None:
    command = [sys.executable, "-m", "testing.sessions", "--require-header", text]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "NAME=VALUE" in done.stderr


def test_with_a_time_it_completes_each_session_by_itself_but_not_one_that_has_ended() -> None:
    def call(method: str, path: str, body: object = None) -> dict[str, Any]:
        headers = {"Curation-Run-Id": "u.g1.a1", "Content-Type": "application/json"}
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(f"{url}{path}", data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(json.load(answer))

    with started("--complete-after", "0.2") as (_, url):
        workspace = call("POST", "/workspaces")["id"]
        one, other = (call("POST", "/sessions", {"workspace": workspace, "message": "m"})["id"] for _ in range(2))
        for session in (one, other):
            call("POST", f"/sessions/{session}/configure")
        call("POST", f"/sessions/{other}/cancel")
        deadline = time.monotonic() + 60
        while call("GET", f"/sessions/{one}")["state"] != "completed":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert call("GET", f"/sessions/{other}")["state"] == "cancelled"
