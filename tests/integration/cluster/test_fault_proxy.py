"""The proxy between a client and the API server leaves nothing behind."""

import asyncio
import gc
import json
from contextlib import suppress
from pathlib import Path

import aiohttp

from testing.controlplane.connection import Connection as Server
from tests.faults.proxy import FaultProxy
from tests.harness.slow_runs import until_stalled

LATE_SECONDS = 0.05


async def _pass_on_late(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await source.read(2**16):
            await asyncio.sleep(LATE_SECONDS)
            sink.write(piece)
    sink.close()
    with suppress(ConnectionError):
        await sink.wait_closed()


def test_a_proxy_that_ends_in_the_middle_of_watches_leaves_no_connection_open(
    installed: Server, tmp_path: Path
) -> None:
    """Though the server's part of the TLS goodbye comes late. What is left open pytest reports when it is collected."""
    document = json.loads(installed.kubeconfig().read_text())
    cluster = document["clusters"][0]["cluster"]
    port = int(cluster["server"].rpartition(":")[2])

    connections: set[asyncio.Task[None] | None] = set()

    async def slow_network(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())
        from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_pass_on_late(reader, to_server), _pass_on_late(from_server, writer))

    async def watch(client: aiohttp.ClientSession, proxy: FaultProxy) -> None:
        async with client.get(f"{proxy.url}/api/v1/namespaces?watch=1"):
            pass

    async def exchange() -> None:
        network = await asyncio.start_server(slow_network, "127.0.0.1", 0)
        cluster["server"] = f"https://127.0.0.1:{network.sockets[0].getsockname()[1]}"
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps(document))
        async with network:
            async with FaultProxy(kubeconfig) as proxy, aiohttp.ClientSession() as client:
                stall = proxy.stall("watch")
                await asyncio.gather(*(watch(client, proxy) for _ in range(3)))
                await until_stalled(stall, 3)
            await asyncio.gather(*filter(None, connections))

    asyncio.run(exchange())
    gc.collect()
