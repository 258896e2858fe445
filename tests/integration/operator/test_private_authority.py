"""Session services whose certificate a private authority has signed: trusted once the operator is given it."""

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from testing.operator_process import OperatorProcess
from tests.guests.wat import Script
from tests.harness import manifests
from tests.harness.certificates import self_signed
from tests.harness.world import JOBS, World


@dataclass
class Service:
    """What a service that answers everything has been asked."""

    authority: Path
    runner: web.AppRunner
    port: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    async def serve(self, context: ssl.SSLContext) -> None:
        """Serve with this certificate, and no more with another one."""
        for site in list(self.runner.sites):
            await site.stop()
        await web.TCPSite(self.runner, "127.0.0.1", self.port, ssl_context=context).start()
        self.port = self.runner.addresses[0][1]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    pem, context = self_signed(tmp_path, "127.0.0.1")

    async def answer(request: web.Request) -> web.Response:
        made.asked.append(request.path)
        return web.json_response({"id": "s-1"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.25)
    await runner.setup()
    made = Service(pem, runner)
    await made.serve(context)
    yield made
    await runner.cleanup()


async def until_logged(world: World, operator: OperatorProcess, text: str) -> None:
    await world.until(lambda: bool(operator.logged(text)), f"the log says {text!r}")


async def test_a_private_authority_is_trusted_only_if_the_operator_is_given_it(world: World, service: Service) -> None:
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


async def test_a_session_is_cancelled_after_its_service_and_the_bundle_have_a_new_authority(
    world: World, service: Service, tmp_path: Path
) -> None:
    await world.prepare()
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(service.authority.read_bytes())
    operator = await world.start_operator("--ca-bundle", str(bundle))
    await world.create_job(config={"api_url": service.url})
    await world.until_phase("Running")

    (tmp_path / "new").mkdir()
    authority, context = self_signed(tmp_path / "new", "127.0.0.1")
    await service.serve(context)
    bundle.write_bytes(authority.read_bytes())
    await until_logged(world, operator, "ca-bundle has changed and is in use")
    await world.cluster.delete(JOBS, "job-0")
    await world.until_gone("job-0")
    assert service.asked[-1] == "/sessions/s-1/cancel"
    assert world.event_count("CleanupFailed") == 0
