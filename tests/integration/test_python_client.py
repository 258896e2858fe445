"""The Python client against a real API server and operator: its page's examples as printed, and each of its errors."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from curation.client import (
    AlreadyExists,
    ApprovalDecision,
    Client,
    CurationError,
    Denied,
    JobFailed,
    JobGone,
    JobSpec,
    ModuleReference,
    NotFinished,
    NotFound,
    Phase,
    Refused,
    Scope,
    Unavailable,
)
from testing.controlplane.connection import Connection
from tests.harness import manifests
from tests.harness.world import World
from tests.integration.api.objects import approval, create, write_status

ROOT = Path(__file__).parents[2]
SPEC = JobSpec(module_ref=ModuleReference(name="build-session-message"))
SAMPLE_URL = "http://sessions.sample-sessions.svc.cluster.local:8080"


def examples() -> list[str]:
    text = (ROOT / "docs" / "python-client.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)


async def run(source: str, world: World, **variables: str) -> str:
    """Run a program as somebody with a kubeconfig would; what it has printed."""
    source = source.replace("team-a", world.namespace).replace(SAMPLE_URL, world.service.url)
    environment = {**world.cluster.connection.environment(), **variables}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-", env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    shown, _ = await process.communicate(source.encode())
    assert process.returncode == 0, shown
    return shown.decode()


async def complete_all(world: World) -> None:
    """The agent of each session is done at once."""
    while True:
        await world.service.wait_until(lambda: bool(world.service.sessions(state="running")), seconds=3600)
        for session in world.service.sessions(state="running"):
            world.service.complete(session.id, {"summary": "done"})


async def test_the_examples_of_the_page_and_the_step_of_tekton_run_as_they_are_printed(
    world: World, tmp_path: Path
) -> None:
    first, second = examples()
    await world.cluster.create(manifests.module())
    await world.start_operator()
    publish = await run(second, world)
    assert publish.startswith("POST 127.0.0.1 /workspaces for ")
    await world.until_phase("Running", "publish")

    completing = asyncio.create_task(complete_all(world))
    try:
        shown = await run(
            first.replace('create("report", spec)', 'create("report", spec, labels={"made": "here"})'), world
        )
        assert "Submitted Submitted" in shown or "Running SessionSpawned" in shown
        assert shown.splitlines()[-2:] == ["Completed Completed The session completed.", "{'summary': 'done'}"]
        assert world.job("report")["metadata"]["labels"] == {"made": "here"}
        assert world.job("report")["spec"]["retry"] == {"limit": 3, "initialDelaySeconds": 1, "maxDelaySeconds": 300}

        task = yaml.safe_load((ROOT / "manifests/samples/pipelines/tekton-task.yaml").read_text(encoding="utf-8"))
        (step,) = task["spec"]["steps"]
        given = {each["name"]: "" for each in step["env"]}
        assert given.keys() == {"MESSAGE", "RUN", "RESULT"}
        script = step["script"].replace("Client()", f'Client("{world.namespace}")')
        await world.cluster.patch(
            "curationmodules", manifests.MODULE, {"spec": {"config": {"api_url": world.service.url}}}
        )
        result = tmp_path / "output"
        await run(script, world, MESSAGE="m", RUN="curation-report-run-" + "x" * 60, RESULT=str(result))
        assert result.read_text() == '{"summary": "done"}'
    finally:
        completing.cancel()


@pytest.fixture
def client(installed: Connection, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Of an admin, in the test's namespace. No operator is at work there."""
    for name, value in installed.environment().items():
        monkeypatch.setenv(name, value)
    with Client(namespace) as made:
        yield made


def let_go(installed: Connection, namespace: str) -> None:
    """Take the finalizer off, as the operator would."""
    patch = '{"metadata":{"finalizers":null}}'
    installed.kubectl("-n", namespace, "patch", "cjob", "job", "--type=merge", "-p", patch)


def test_a_wait_tells_an_end_from_one_of_an_earlier_generation_and_from_another_object(
    client: Client, installed: Connection, namespace: str
) -> None:
    made = client.create("job", SPEC)
    assert made.metadata.uid
    run = {"id": f"{made.metadata.uid}.g1.a1", "generation": 1, "attempt": 1, "templateDigest": "v1:x", "holder": "h/1",
           "module": {"name": "m", "digest": "d"}, "submittedAt": "2030-01-01T00:00:00.000000Z"}  # fmt: skip
    failed = {"phase": "Failed", "reason": "Trap", "message": "It trapped.", "run": run}
    write_status(installed, namespace, "curationjobs", "job", {**failed, "observedGeneration": 1})
    with pytest.raises(JobFailed, match=f"CurationJob {namespace}/job: Trap: It trapped") as caught:
        client.wait(made)
    assert caught.value.job.status.run is not None
    again = client.rerun("job")
    assert again.metadata.generation == 2
    with pytest.raises(NotFinished, match=r"is Failed \(Trap\) after 0 s"):
        client.wait("job", timeout=0)
    with pytest.raises(TimeoutError):
        client.wait(again, timeout=0, until=Phase.FAILED)
    write_status(installed, namespace, "curationjobs", "job", {**failed, "phase": "Completed", "observedGeneration": 2})
    assert client.wait(again, until=Phase.RUNNING).status.phase == "Completed"

    client.delete(made)
    let_go(installed, namespace)
    other = client.create("job", SPEC)
    for call in (lambda: client.wait(made), lambda: list(client.stream(made))):
        with pytest.raises(JobGone, match="another one made under its name"):
            call()
    with pytest.raises(Refused, match="UID"):
        client.delete(made)
    client.suspend(other)
    assert client.get("job").spec.suspend
    assert not client.resume("job").spec.suspend
    client.delete("job")
    let_go(installed, namespace)
    with pytest.raises(JobGone, match="was deleted"):
        client.wait(other)
    with pytest.raises(NotFound, match=f"cannot get CurationJob {namespace}/job"):
        client.wait("job")


def test_what_the_api_server_says_is_an_error_of_the_client(
    client: Client, installed: Connection, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.create("job", SPEC)
    with pytest.raises(AlreadyExists, match="cannot create CurationJob"):
        client.create("job", SPEC)
    long = JobSpec.model_construct(module_ref=ModuleReference(name="m"), rerun="x" * 300)
    with pytest.raises(Refused, match=r"spec\.rerun"):
        client.create("other", long)
    with pytest.raises(NotFound):
        client.approve("nothing")
    with pytest.raises(CurationError, match="no-such-context"):
        Client(context="no-such-context")

    for name, value in installed.environment("nobody", ("people",)).items():
        monkeypatch.setenv(name, value)
    with Client(namespace) as nobody, pytest.raises(Denied, match="cannot get CurationJob"):
        nobody.get("job")
    with pytest.raises(CurationError, match="was closed"):
        nobody.get("job")


def test_decisions_are_those_of_kubectl_curation_and_a_second_one_that_differs_is_refused(
    client: Client, installed: Connection, namespace: str
) -> None:
    create(installed, namespace, "curationapprovals", approval())
    (pending,) = client.approvals(ApprovalDecision.PENDING)
    approved = client.approve(pending, scope=Scope.PATH, never_expires=True, comment="for the demo")
    assert (approved.spec.never_expires, approved.spec.comment) == (True, "for the demo")
    assert (approved.spec.decision, approved.spec.scope, approved.spec.decided_by) == ("Approved", "Path", "admin")
    assert client.approvals(ApprovalDecision.PENDING) == []
    assert client.approve(pending, scope=Scope.PATH).metadata.resource_version == approved.metadata.resource_version
    with pytest.raises(Refused, match="is Approved already, with scope Path, expiresAt never"):
        client.approve(pending, scope=Scope.HOST)
    with pytest.raises(Refused, match="is Approved already, with scope Path, expiresAt never: revoke it"):
        client.deny(pending)
    assert client.revoke("approval", comment="no longer").spec.comment == "no longer"
    with pytest.raises(Refused, match="was Revoked, which is final"):
        client.approve("approval")
    assert [each.spec.decision for each in client.approvals()] == ["Revoked"]


def test_a_server_that_gives_no_answer_is_unavailable(tmp_path: Path) -> None:
    cluster = {"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "theirs"}}
    kubeconfig = {
        "clusters": [cluster],
        "contexts": [context],
        "users": [{"name": "u", "user": {}}],
        "current-context": "c",
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(kubeconfig), encoding="utf-8")
    with Client(kubeconfig=str(tmp_path / "kubeconfig")) as client:
        assert client.namespace == "theirs"
        for call in (lambda: client.get("job"), lambda: client.create("job", SPEC), lambda: client.deny("a")):
            with pytest.raises(Unavailable, match="cannot"):
                call()


def test_the_job_that_argo_makes_is_accepted_and_the_pipeline_may_do_what_it_does(
    installed: Connection, namespace: str
) -> None:
    folder = ROOT / "manifests" / "samples" / "pipelines"
    workflow = yaml.safe_load((folder / "argo-workflow.yaml").read_text(encoding="utf-8"))
    (template,) = workflow["spec"]["templates"]
    installed.kubectl("-n", namespace, "create", "-f", "-", input=template["resource"]["manifest"])
    conditions = {template["resource"][each] for each in ("successCondition", "failureCondition")}
    assert conditions == {f"status.phase == {phase}" for phase in Phase if phase.terminal}
    installed.kubectl("-n", namespace, "apply", "-f", str(folder / "rights.yaml"))
    account = f"system:serviceaccount:{namespace}:{workflow['spec']['serviceAccountName']}"
    for verb in ("create", "get", "watch", "patch", "delete"):
        asked = ("auth", "can-i", verb, "curationjobs.curation.dev", "-n", namespace)
        assert installed.kubectl(*asked, "--as", account, check=False).stdout.strip() == "yes"
    assert installed.kubectl("auth", "can-i", "approve", "curationapprovals.curation.dev", "-n", namespace,
                             "--as", account, check=False).stdout.strip() == "no"  # fmt: skip
