"""Answers of the API server with long heads, as warnings make them: read, as client-go reads them."""

from pathlib import Path

import pytest

from curation.cluster.connection import connect
from tests.unit.cluster.test_credentials import write_kubeconfig
from tests.unit.egress.raw_server import answering, raw_server

HEADS = {
    "a header of 60 KiB": b'Warning: 299 - "%b"\r\n' % (b"w" * (60 << 10)),
    "a thousand warnings": b'Warning: 299 - "unknown field"\r\n' * 1000,
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
async def test_an_answer_with_many_warnings_is_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%bContent-Length: 2\r\n\r\n{}" % head
    async with raw_server(answering(answer, close=True)) as server:
        kubeconfig = write_kubeconfig(tmp_path / "k", {}, server=f"http://127.0.0.1:{server.port}")
        async with await connect(environ={"KUBECONFIG": kubeconfig}) as connection:
            assert await connection.send("GET", "/version") == {}
