"""Session services whose certificate a private authority has signed: trusted once the operator is told of it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from tests.guests.wat import Script
from tests.harness import manifests
from tests.harness.certificates import self_signed
from tests.harness.operator_process import OperatorProcess
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


async def until_logged(world: World, operator: OperatorProcess, text: str) -> None:
    await world.until(lambda: bool(operator.logged(text)), f"the log says {text!r}")


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


async def test_a_renewed_bundle_counts_for_calls_that_begin_after_it_and_a_broken_one_changes_nothing(
    world: World, service: Service, tmp_path: Path
) -> None:
    await world.cluster.create(manifests.policy())
    script = Script().call({"method": "GET", "url": f"{service.url}/told"})
    for name, guest in (("strict", script.answer()), ("told", script.ok({"action": "Completed", "output": {}}))):
        for document in manifests.wasm_module(name, guest):
            await world.cluster.create(document)
    bundle = tmp_path / "bundle.pem"
    (tmp_path / "other").mkdir()
    other, _ = self_signed(tmp_path / "other", "127.0.0.1")
    bundle.write_bytes(other.read_bytes())
    operator = await world.start_operator("--ca-bundle", str(bundle))
    await world.create_job("before", moduleRef={"name": "strict"}, retry={"limit": 0})
    await world.until_phase("Failed", "before")
    assert "its certificate is not trusted" in world.status("before")["message"]

    bundle.write_bytes(service.authority.read_bytes())
    await until_logged(world, operator, "ca-bundle has changed and is in use")
    await world.create_job("after", moduleRef={"name": "told"}, retry={"limit": 0})
    await world.until_phase("Completed", "after")
    assert service.asked == ["/told"]

    bundle.write_bytes(b"broken")
    await until_logged(world, operator, "ca-bundle has changed and cannot be used")
    await operator.until_metric(1, "curation_file_refused", source="ca-bundle")
    await world.create_job("still", moduleRef={"name": "told"}, retry={"limit": 0})
    await world.until_phase("Completed", "still")
    assert service.asked == ["/told", "/told"]
