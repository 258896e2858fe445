"""The process from outside: what it needs to start, how it stops, that the next one goes on, and bad usage."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

import aiohttp
import pytest

from testing.controlplane import namespaces
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from testing.controlplane.server import ControlPlane
from testing.operator_process import PROGRAM, OperatorProcess
from tests.faults.proxy import FaultProxy, answered, held_request, reset
from tests.harness import manifests
from tests.harness.leases import election
from tests.harness.slow_runs import Point, hold, sessions_of
from tests.harness.world import World, open_world

# The cleaning of a run whose process is gone ends when this has passed; no run must before its process goes.
WALL_SECONDS = 20
STOP_SECONDS = 15.0
"""The bound is 5 s on a machine that is not busy with other tests: see `tests/unit/reconciler/test_stopping.py`."""


def texts(folder: Path) -> list[str]:
    """The files in a folder, and below."""
    return [path.read_text() for path in folder.rglob("*") if path.is_file()]


async def stop(operator: OperatorProcess) -> None:
    """Stop it, and print how long that took (`pytest -rP` shows it)."""
    asked = time.monotonic()
    await operator.stop(code=0, seconds=STOP_SECONDS)
    print(f"SIGTERM to the end of the process: {time.monotonic() - asked:.2f} s")


async def test_sigterm_stops_an_idle_operator_with_code_0(world: World) -> None:
    await world.prepare()
    operator = await world.start_operator()
    await world.create_jobs(2)
    await world.until_phase("Running", "job-0", "job-1")
    await stop(operator)


async def test_a_connection_that_prometheus_keeps_open_does_not_draw_a_stop_out(world: World) -> None:
    operator = await world.start_operator()
    async with aiohttp.ClientSession() as prometheus:
        async with prometheus.get(f"{operator.url}/metrics") as page:
            assert "curation_" in await page.text()
        await stop(operator)
    assert not operator.logged("the stop passes over kopf")


async def test_an_operator_never_writes_the_key_of_its_kubeconfig_to_a_file(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The official client writes what a kubeconfig holds inline to files, which it removes at a good end only."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    operator = await world.start_operator()
    assert not any("PRIVATE KEY" in text for text in texts(tmp_path))
    await operator.kill()
    assert texts(tmp_path) == []


@pytest.mark.parametrize("point", [Point.CREATE, Point.LAST_ANSWER])
async def test_sigterm_stops_an_operator_in_a_run_with_code_0_and_the_next_start_goes_on(
    world: World, point: Point
) -> None:
    await world.prepare(wall_seconds=WALL_SECONDS)
    operator = await world.start_operator()
    slow = hold(world, point)
    await world.create_jobs(1)
    await world.service.wait_held(slow)

    await stop(operator)
    assert world.status()["phase"] == "Submitted"
    await world.start_operator()
    await world.until_phase("Running")
    slow.release()
    await world.settled()

    assert world.status()["run"]["id"] == world.run_id(generation=1, attempt=2)
    assert not any(session.live for session in sessions_of(world, ["job-0"], generation=1))
    (live,) = world.service.live_sessions()
    assert live.id == world.status()["session"]["id"]


async def test_sigterm_stops_an_operator_in_a_run_while_the_api_server_answers_nothing(
    world: World, tmp_path: Path
) -> None:
    """Its lease cannot be released, its watches do not end, and an Event is never written: none of it is waited out."""
    await world.prepare(wall_seconds=WALL_SECONDS)
    user = world.cluster.connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)
    async with FaultProxy(user) as proxy, election(world) as lease:
        operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path), lease=True)
        assert await lease.leader() is operator
        # Of a job that runs already: a claim has no Event.
        event = proxy.inject(held_request("POST", "/events", times=None))
        await world.create_job("other")
        await event.reached.wait()
        await world.until_phase("Running", "other")
        slow = hold(world, Point.CREATED)
        await world.create_job()
        await world.service.wait_held(slow)

        proxy.inject(held_request(times=None))
        await stop(operator)
        assert operator.logged("Could not release the lease")

    assert world.status()["phase"] == "Submitted"
    await world.start_operator()
    await world.until_phase("Running")
    slow.release()
    await world.settled()
    assert world.status()["run"]["id"] == world.run_id(generation=1, attempt=2)
    assert [session.state for session in sessions_of(world, ["job-0"], generation=1)] == ["cancelled"]
    owned = {world.status(name)["session"]["id"] for name in ("job-0", "other")}
    assert {live.id for live in world.service.live_sessions()} == owned


async def test_modules_whose_sources_are_slow_to_be_read_delay_neither_the_start_nor_the_jobs_of_other_modules(
    world: World, tmp_path: Path
) -> None:
    """More of them than an operator has workers, and each takes the 10 s after which a request is given up."""
    await world.prepare()
    source = {"configMap": {"name": "slow", "key": "module.wasm"}}
    for number in range(60):
        spec = {"source": source, "digest": f"sha256:{number:064}"}
        await world.cluster.create({**manifests.module(f"slow-{number}"), "spec": spec})
    user = world.cluster.connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)
    async with FaultProxy(user) as proxy:
        proxy.inject(held_request("GET", "/configmaps/slow", times=None))
        operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
        assert operator.logged("modules are still being loaded")
        await world.create_job()
        await world.until_phase("Running")
        await world.settled()
        await operator.stop()


async def test_jobs_in_every_phase_go_on_after_a_restart_without_a_needless_write(world: World) -> None:
    await world.prepare()
    operator = await world.start_operator()
    await world.create_job("running")
    await world.create_job("suspended", suspend=True)
    await world.create_job("completed")
    await world.create_job("waiting", moduleRef={"name": "none"})
    await world.until_phase("Running", "running", "completed")
    await world.until_phase("Queued", "waiting", reason="WaitingForModule")
    await world.until_phase("Queued", "suspended", reason="Suspended")
    world.service.complete(world.status("completed")["session"]["id"], {"n": 1})
    await world.cluster.patch(
        "curationjobs", "completed", {"metadata": {"annotations": {"curation.dev/observe-requested-at": "1"}}}
    )
    await world.until_phase("Completed", "completed")
    await operator.stop()
    before = {name: job["metadata"]["resourceVersion"] for name, job in world.jobs.present.items()}

    again = await world.start_operator()
    await world.create_job("new")
    await world.until_phase("Running", "new")

    after = {name: job["metadata"]["resourceVersion"] for name, job in world.jobs.present.items() if name != "new"}
    assert after == before
    metrics = await again.metrics()
    written = [
        metrics.value("curation_api_requests_total", verb=verb, resource="curationjobs/status")
        for verb in ("update", "patch")
    ]
    assert 1 <= sum(written) <= 2
    await world.edit("suspended", suspend=False)
    await world.until_phase("Running", "suspended")
    await world.settled()


async def test_it_runs_for_the_whole_cluster_with_nothing_but_a_kubeconfig_and_the_shipped_role(
    private_control_plane: ControlPlane, module_cache: Path
) -> None:
    connection = private_control_plane.connection
    async with open_world(connection, namespaces.create(connection, "whole cluster"), module_cache) as world:
        kubeconfig = str(connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS))
        # PATH is what any program has; the rest are options that a test cannot go without.
        operator = OperatorProcess(
            {"KUBECONFIG": kubeconfig, "PATH": os.environ["PATH"]},
            ("--http-bind", "127.0.0.1:0", "--allow-cidr", "127.0.0.0/8", "--log-format", "json"),
            lambda: None,
        )
        world.operators.append(operator)
        await operator.start()
        await world.prepare()
        await world.create_jobs(1)
        await world.until_phase("Running")
        await world.settled()
        metrics = await operator.metrics()
        assert metrics.value("curation_api_requests_total", code="403") == 0
        await operator.stop(code=0, seconds=STOP_SECONDS)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--no-such-option"], "--no-such-option"),
        (["-n", "Not_A_Namespace"], "Not_A_Namespace"),
        (["--allow-cidr", "300.0.0.0/8"], "300.0.0.0/8"),
        (["--http-bind", "nowhere"], "nowhere"),
        (["--max-concurrent-runs", "0"], "--max-concurrent-runs"),
        (["--no-lease", "--lease-namespace", "default"], "--lease-namespace"),
        (["--log-level", "loud"], "loud"),
        ([], "kubeconfig"),
    ],
)
def test_bad_usage_ends_with_2_and_names_what_is_wrong(arguments: list[str], says: str, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "KUBECONFIG": str(tmp_path / "none"), "HOME": str(tmp_path)}
    ended = subprocess.run(
        [str(PROGRAM), "run", *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 2, ended.stderr
    assert says.lower() in ended.stderr.lower()
    assert "Traceback" not in ended.stderr


async def test_an_operator_that_cannot_begin_to_work_ends_with_code_1_and_says_why(
    world: World, tmp_path: Path
) -> None:
    connection = world.cluster.connection
    async with FaultProxy(connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)) as proxy:
        proxy.inject(reset("GET", r"/curationjobs\?limit=1$", times=None))
        operator = world.operator(kubeconfig=proxy.kubeconfig(tmp_path))
        await operator.launch()
        assert await operator.exit_code() == 1
        assert "cannot start" in operator.text()


async def test_an_operator_whose_crds_are_not_installed_ends_with_code_2_and_says_how_to_install_them(
    world: World, tmp_path: Path
) -> None:
    connection = world.cluster.connection
    async with FaultProxy(connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)) as proxy:
        # What the API server answers about a path that it does not serve.
        proxy.inject(answered(404, "GET", "/apis/curation.dev/", times=None, body="404 page not found"))
        operator = world.operator(kubeconfig=proxy.kubeconfig(tmp_path))
        await operator.launch()
        assert await operator.exit_code() == 2
        assert "curation-operator crds | kubectl apply --server-side -f -" in operator.text()


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that anybody can write."""
    tmp_path.chmod(0o777)
    return tmp_path


async def test_a_module_cache_that_others_can_write_ends_it_with_code_2_and_says_what_to_do(
    world: World, open_folder: Path
) -> None:
    operator = world.operator("--module-cache", str(open_folder))
    await operator.launch()
    assert await operator.exit_code() == 2
    assert f"{open_folder} is open to others (mode 0777): chmod 0700 it" in operator.text()
