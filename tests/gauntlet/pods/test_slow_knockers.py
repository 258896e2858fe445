"""Whoever reaches the door of pods and does nothing is closed in seconds."""

import asyncio
import socket
from pathlib import Path

from tests.unit.execution.conftest import GENEROUS
from tests.unit.pods.test_door import made


async def test_who_says_nothing_is_closed_in_seconds(tmp_path: Path) -> None:
    async with made(tmp_path) as rig:
        silent = await rig.connect()
        await silent.closed()
        plain = socket.create_connection(("127.0.0.1", rig.port))
        plain.setblocking(False)
        async with asyncio.timeout(GENEROUS):
            assert await asyncio.get_running_loop().sock_recv(plain, 1) == b"", "who begins no handshake"
        plain.close()
