"""What people do with kubectl to jobs that the operator works on: wait, apply again, diff, edit, replace, get."""

import asyncio
import json
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from testing.admin_client import Document
from testing.controlplane.connection import Kubectl
from tests.harness import manifests
from tests.harness.world import JOBS, World
from tests.integration.gitops.repository import runs_with_sessions

Run = Callable[..., Coroutine[Any, Any, subprocess.CompletedProcess[str]]]
APPLY = {"client-side": ("apply",), "server-side": ("apply", "--server-side")}
DIFF = {"client-side": ("diff",), "server-side": ("diff", "--server-side")}


@pytest.fixture
def run(kubectl: Kubectl) -> Run:
    """Runs kubectl in the test's namespace, while the world goes on."""

    async def run(*args: str, input: str | None = None) -> subprocess.CompletedProcess[str]:  # noqa: A002
        return await asyncio.to_thread(kubectl, *args, input=input)

    return run


def text(world: World, **spec: Any) -> str:
    """The manifest of job-0."""
    return json.dumps(manifests.job("job-0", world.service.url, **spec))


async def running(world: World, run: Run, *command: str) -> Document:
    """Job-0, applied with this command, and Running; the settled object."""
    await world.prepare()
    await world.start_operator()
    await run(*command, "-f", "-", input=text(world))
    await world.until_phase("Running")
    return await world.cluster.get(JOBS, "job-0")


@pytest.mark.parametrize(
    ("end", "phase", "succeeded"), [("complete", "Completed", "True"), ("fail", "Failed", "False")]
)
async def test_wait_returns_when_the_session_runs_and_again_when_the_job_has_finished_whatever_came_of_it(
    world: World, run: Run, end: str, phase: str, succeeded: str
) -> None:
    await world.prepare()
    await run("apply", "-f", "-", input=text(world, observeIntervalSeconds=1))
    runs = asyncio.create_task(run("wait", "--for=jsonpath={.status.phase}=Running", "cjob/job-0", "--timeout=90s"))
    finished = asyncio.create_task(run("wait", "--for=condition=Finished", "cjob/job-0", "--timeout=90s"))
    await world.start_operator()
    await runs
    await world.until_phase("Running")
    assert not finished.done()
    session = world.status()["session"]["id"]
    if end == "complete":
        world.service.complete(session, {"answer": 42})
    else:
        world.service.fail(session, "gave up")
    assert "condition met" in (await finished).stdout
    assert (await world.cluster.get(JOBS, "job-0"))["status"]["phase"] == phase
    # With a timeout of 0 kubectl checks once.
    await run("wait", f"--for=condition=Succeeded={succeeded}", "cjob/job-0", "--timeout=0")


@pytest.mark.parametrize("how", APPLY)
async def test_the_same_manifest_again_changes_nothing_while_the_job_runs(world: World, run: Run, how: str) -> None:
    before = await running(world, run, *APPLY[how])
    said = (await run(*APPLY[how], "-f", "-", input=text(world))).stdout
    # kubectl says so of a server-side apply whatever it did.
    assert (
        said.strip()
        == f"curationjob.curation.dev/job-0 {'unchanged' if how == 'client-side' else 'serverside-applied'}"
    )
    assert (await run(*DIFF[how], "-f", "-", input=text(world))).stdout == ""
    assert await world.cluster.get(JOBS, "job-0") == before


@pytest.mark.parametrize("how", APPLY)
async def test_the_operator_and_who_applies_own_no_field_together(world: World, run: Run, how: str) -> None:
    job = await running(world, run, *APPLY[how])
    fields = {
        (entry["manager"] == "curation-operator", part)
        for entry in job["metadata"]["managedFields"]
        for part in entry["fieldsV1"]
    }
    assert fields <= {(True, "f:status"), (False, "f:spec"), (False, "f:metadata")}
    assert (True, "f:status") in fields


async def test_an_edit_of_the_template_starts_a_run_and_an_edit_of_a_control_does_not(
    world: World, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await running(world, run, "apply")
    for expression, runs in (
        ("s/observeIntervalSeconds: 3600/observeIntervalSeconds: 1800/", ["g1.a1"]),
        ('s/rerun: ""/rerun: "again"/', ["g1.a1", "g3.a1"]),
    ):
        editor = tmp_path / "editor"
        editor.write_text(f"#!/bin/sh\nexec sed -i -e '{expression}' \"$1\"\n", encoding="utf-8")
        editor.chmod(0o700)
        monkeypatch.setenv("KUBE_EDITOR", str(editor))
        assert "edited" in (await run("edit", "cjob", "job-0")).stdout
        await until_seen(world)
        assert runs_with_sessions(world, "job-0") == runs


async def test_a_replace_by_the_manifest_keeps_status_finalizer_and_author_and_starts_no_run(
    world: World, run: Run
) -> None:
    before = await running(world, run, "create")
    await run("replace", "-f", "-", input=text(world))
    after = await world.cluster.get(JOBS, "job-0")
    for field in ("finalizers", "annotations", "generation", "uid"):
        assert after["metadata"][field] == before["metadata"][field], field
    assert (after["spec"], after["status"]) == (before["spec"], before["status"])

    await run("replace", "-f", "-", input=text(world, rerun="again"))
    await until_seen(world)
    assert runs_with_sessions(world, "job-0") == ["g1.a1", "g2.a1"]


async def test_get_shows_the_session_and_with_wide_the_run_and_what_it_means(world: World, run: Run) -> None:
    job = await running(world, run, "apply")
    session, run_id = job["status"]["session"]["id"], job["status"]["run"]["id"]
    assert f"job-0   Running   SessionSpawned   1         {session}" in (await run("get", "cjob")).stdout
    wide = (await run("get", "cjob", "-o", "wide")).stdout.splitlines()[1]
    assert wide.split()[6:] == [run_id, manifests.MODULE, *job["status"]["message"].split()]
    assert "curationjob.curation.dev/job-0" in (await run("get", "all")).stdout


async def until_seen(world: World) -> None:
    """Wait until the operator is done with the newest spec."""
    # The watch of this test may not have shown the edit yet.
    generation = (await world.cluster.get(JOBS, "job-0"))["metadata"]["generation"]
    await world.until(lambda: world.status()["observedGeneration"] == generation, "the edit is seen")
    await world.settled()


async def test_deleting_a_kustomization_cancels_the_session_of_its_job_and_leaves_nothing(
    world: World, run: Run, tmp_path: Path
) -> None:
    documents = [manifests.module(), manifests.policy(), manifests.job("job-0", world.service.url)]
    for number, document in enumerate(documents):
        (tmp_path / f"{number}.yaml").write_text(json.dumps(document), encoding="utf-8")
    resources = [f"{number}.yaml" for number in range(len(documents))]
    (tmp_path / "kustomization.yaml").write_text(json.dumps({"resources": resources}), encoding="utf-8")
    await world.start_operator()
    await run("apply", "-k", str(tmp_path))
    await world.until_phase("Running")

    # It waits until all three are gone.
    await run("delete", "-k", str(tmp_path), "--timeout=120s")
    await world.until_gone("job-0")
    assert [session.state for session in world.service.sessions()] == ["cancelled"]
    for plural in ("curationmodules", "curationpolicies"):
        assert await world.cluster.list(plural) == []
