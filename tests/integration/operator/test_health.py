"""/healthz of a running operator says the truth: a watch that hangs, a loop that does not turn.

A lost lease ends the process: see `tests/gauntlet/test_lost_leases.py`. What is measured against what, by an injected
clock, is in `tests/unit/reconciler/test_health.py`.
"""

import asyncio
import sys
from pathlib import Path

import aiohttp
import pytest
import yaml
from yarl import URL

from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from testing.operator_process import OperatorProcess
from tests.faults.flood import flood
from tests.faults.proxy import FaultProxy, held_request, silent
from tests.harness import leases
from tests.harness.world import World

SECONDS = 60.0
# The operator with a watch of 3 s for 45, that is stale after 5 s for 75, and with sweeps each second.
QUICK = f"""#!{sys.executable}
from curation.cluster import sweep
from curation.reconciler.process import handlers
from curation.reconciler.runtime import health
sweep.SWEEP_INTERVAL = sweep.FEW_INTERVAL = 1.0
handlers.WATCH_SECONDS = 3
health.WATCH_STALE_SECONDS = 5.0
from curation.cli.operator import main
main()
"""


async def until_healthz(operator: OperatorProcess, status: int) -> list[str]:
    """Wait until /healthz answers with this status; its lines."""
    async with asyncio.timeout(SECONDS):
        while True:
            found, text = await operator.fetch("/healthz")
            if found == status:
                return text.splitlines()
            await asyncio.sleep(0.05)


async def until_problem(operator: OperatorProcess, start: str) -> None:
    """Wait until /healthz names a problem that begins so. On a busy machine it may name more."""
    async with asyncio.timeout(SECONDS):
        while not any(line.startswith(start) for line in await until_healthz(operator, 503)):  # noqa: ASYNC110 - nothing shows it
            await asyncio.sleep(0.05)


def quick_operator(folder: Path) -> str:
    """The program of it."""
    program = folder / "quick-operator"
    program.write_text(QUICK, encoding="utf-8")
    program.chmod(0o700)
    return str(program)


@pytest.mark.parametrize("kind", ["curationjobs", "curationapprovals"])
@pytest.mark.parametrize("fault", [held_request, silent], ids=["is-never-answered", "goes-silent"])
async def test_a_watch_that_hangs_is_unhealthy_until_it_shows_a_sign_of_life(
    world: World, tmp_path: Path, kind: str, fault: object
) -> None:
    program = quick_operator(tmp_path)
    user = world.cluster.connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)
    async with FaultProxy(user) as proxy:
        operator = world.operator(kubeconfig=proxy.kubeconfig(tmp_path), command=(program,))
        await operator.start()
        hang = proxy.inject(fault("GET", rf"/{kind}\?.*watch=", times=None))  # type: ignore[operator]
        await hang.reached.wait()
        await until_problem(operator, f"the watch of {kind} was last alive ")
        assert (await operator.fetch("/readyz"))[0] == 503
        metrics = await operator.metrics()
        ages = [metrics.value("curation_watch_age_seconds", resource=each) for each in (kind, "curationmodules")]
        assert ages[0] > max(5, ages[1])

        proxy.heal()
        assert await until_healthz(operator, 200) == ["ok"]
        await world.prepare()
        await world.create_jobs(1)
        await world.until_phase("Running")
        await world.settled()
        await operator.stop()


async def test_a_watch_that_hangs_in_one_of_two_namespaces_is_unhealthy(world: World, tmp_path: Path) -> None:
    user = world.cluster.connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)
    async with FaultProxy(user) as proxy:
        operator = world.operator(
            "-n", "default", kubeconfig=proxy.kubeconfig(tmp_path), command=(quick_operator(tmp_path),)
        )
        await operator.start()
        proxy.inject(held_request("GET", r"/namespaces/default/curationjobs\?.*watch=", times=None))
        (problem,) = await until_healthz(operator, 503)
        assert problem.startswith("the watch of curationjobs was last alive ")
        proxy.heal()
        assert await until_healthz(operator, 200) == ["ok"]
        await operator.stop()


# All kinds by tests/unit/reconciler/test_health_server.py: a flood takes a core for as long as it lasts.
@pytest.mark.parametrize("kind", ["loris", "pipeline"])
async def test_a_flood_of_the_health_port_does_not_stop_the_work(world: World, kind: str) -> None:
    """From another process, at full speed. Each kind alone and with the lease, which a slow loop loses."""
    await leases.grant(world.cluster)
    operator = await world.start_operator(lease=True)
    await world.prepare()
    with flood(kind, "127.0.0.1", int(operator.url.rpartition(":")[2]), "127.0.0.2"):
        await world.create_jobs(3)
        await world.until_phase("Running")
        assert await until_healthz(operator, 200) == ["ok"]
    assert operator.running
    await operator.until_metric(1, "curation_leader")
    assert not operator.logged("lease was lost")
    await world.settled()
    await operator.stop()


async def test_with_the_arguments_of_the_deployment_it_is_healthy_on_ipv4_and_ipv6(world: World) -> None:
    file = Path(__file__).parents[3] / "manifests" / "base" / "deployment.yaml"
    containers = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]["template"]["spec"]["containers"]
    (container,) = (each for each in containers if each["name"] == "operator")
    (bind,) = [argument for argument in container["args"] if argument.startswith("--http-bind=")]
    host, _, port = bind.rpartition(":")
    assert port == str(container["ports"][0]["containerPort"])
    operator = world.operator(f"{host}:0")
    await operator.start()
    served = URL(operator.url)
    async with aiohttp.ClientSession() as http:
        for host in ("127.0.0.1", "::1", served.host):
            async with http.get(served.with_host(str(host)) / "healthz") as answer:
                assert (answer.status, await answer.text()) == (200, "ok\n")
    await operator.stop()


async def test_a_process_whose_loop_does_not_turn_gives_a_probe_no_answer(world: World) -> None:
    operator = await world.start_operator()
    await operator.pause()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await operator.fetch("/healthz")
    operator.resume()
    assert await until_healthz(operator, 200) == ["ok"]
