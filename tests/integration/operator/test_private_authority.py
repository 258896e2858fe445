"""Session services whose certificate a private authority has signed: trusted once the operator is told of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from tests.guests.wat import Script
from tests.harness import manifests
from tests.harness.certificates import self_signed
from tests.harness.world import World


@dataclass
class Service:
    """What a service that answers everything has been asked."""

    url: str
    authority: Path
    asked: list[str] = field(default_factory=list)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    pem, context = self_signed(tmp_path, "127.0.0.1")

    async def answer(request: web.Request) -> web.Response:
        made.asked.append(request.path)
        return web.Response(text="at your service")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.25)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    made = Service(f"https://127.0.0.1:{runner.addresses[0][1]}", pem)
    yield made
    await runner.cleanup()


async def test_a_private_authority_is_trusted_only_if_the_operator_is_told_of_it(
    world: World, service: Service
) -> None:
    await world.cluster.create(manifests.policy())
    for name in ("untold", "told"):
        script = Script().call({"method": "GET", "url": f"{service.url}/{name}"})
        guest = script.answer() if name == "untold" else script.ok({"action": "Completed", "output": {}})
        for document in manifests.wasm_module(name, guest):
            await world.cluster.create(document)

    untold = await world.start_operator()
    await world.create_job("untold", moduleRef={"name": "untold"}, retry={"limit": 0})
    await world.until_phase("Failed", "untold")
    assert world.status("untold")["reason"] == "HTTPUnavailable"
    assert "its certificate is not trusted" in world.status("untold")["message"]
    await untold.stop()

    await world.start_operator("--ca-bundle", str(service.authority))
    await world.create_job("told", moduleRef={"name": "told"}, retry={"limit": 0})
    await world.until_phase("Completed", "told")
    assert service.asked == ["/told"]
