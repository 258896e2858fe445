"""A broken policy is stopped at the door: kubectl against a real API server, which asks a real operator."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from testing.operator_process import OperatorProcess
from tests.harness import certificates
from tests.harness.doorway import BROKEN, GOOD, WHERE, Doorway, policy

pytestmark = pytest.mark.own_operator

CASES = {
    "good": GOOD,
    "nothing": "// nothing yet",
    "a typing error": BROKEN,
    "an unknown attribute": GOOD[:-1] + "\nwhen { context.hots == 1 };",
    "a missing semicolon": GOOD[:-1],
    "a template": "forbid (principal == ?principal, action, resource);",
    "too deep": "permit(principal,action,resource)when{" + "(" * 99,
    "a host in upper case": GOOD.replace("h.example", "H.Example"),
    "a method in lower case": GOOD[:-1] + ' when { context.method == "get" };',
    "a permit of everything": "permit (principal, action, resource);",
    "a pattern without its end": GOOD[:-1] + ' when { context.path like "/a*" };',
    "two warnings": GOOD.replace("h.example", "H.Example")[:-1] + ' when { context.method == "get" };',
    "an unknown action": GOOD.replace("action,", 'action == Action::"nothing",'),
    "an unknown type": GOOD.replace("Agent", "Agnet"),
    "text that is no Cedar": "# a comment of another language",
    "nothing that ends": 'permit (principal, action, resource) when { "',
}


async def test_a_typing_error_is_refused_by_each_way_of_kubectl_in_words_that_name_it(
    doorway: Doorway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await doorway.opened()
    run, ours = asyncio.to_thread, doorway.namespace
    for options in ((), ("--server-side",), ("--dry-run=server",), ("--server-side", "--field-manager=flux")):
        for kind in ("CurationPolicy", "ClusterCurationPolicy"):
            name = f"new-{ours}"
            code, said = await run(doorway.applied, policy(name, BROKEN, namespace=ours, kind=kind), *options)
            assert code == 1, said
            assert WHERE in said, said
            assert "resourse" in said
            assert "kubectl curation check-policy" in said
    good = policy("p", GOOD, namespace=ours)
    code, said = await run(doorway.applied, good)
    assert (code, "Warning" in said) == (0, False), said
    broken = policy("p", BROKEN, namespace=ours)
    for options in ((), ("--server-side", "--force-conflicts"), ("replace",)):
        code, said = await run(doorway.applied, broken, *options)
        assert code == 1
        assert WHERE in said, said
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nexec sed -i -e 's/, resource ==/, resourse ==/' \"$1\"\n")
    editor.chmod(0o700)
    monkeypatch.setenv("KUBE_EDITOR", str(editor))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    edited = await run(doorway.kubectl, "edit", "curationpolicy", "p", check=False)
    assert "is invalid" in edited.stderr, edited.stderr
    kept = Path(edited.stderr.partition('stored to "')[2].partition('"')[0])
    assert "# * spec.cedar: policy 0, line 1, column" in await run(kept.read_text), "kubectl shows it in the editor"
    assert await run(doorway.stored, "p") == GOOD


async def test_the_webhook_and_check_policy_give_the_same_answers(doorway: Doorway, tmp_path: Path) -> None:
    """The command, as it is run before a commit, and kubectl, for each case as a policy of either kind."""
    await doorway.opened()
    kinds = ("CurationPolicy", "ClusterCurationPolicy")
    documents = [
        policy(f"case-{number}-{kind.lower()}-{doorway.namespace}", text, namespace=doorway.namespace, kind=kind)
        for number, text in enumerate(CASES.values())
        for kind in kinds
    ]
    file = tmp_path / "cases.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    command = [sys.executable, "-m", "curation.cli.plugin", "check-policy", "-o", "json", str(file)]
    checked = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    answers = json.loads(checked.stdout)
    assert len(answers) == len(documents)
    assert len({(answer["valid"], answer["reason"], len(answer["warnings"])) for answer in answers}) >= 4
    for document, answer in zip(documents, answers, strict=True):
        assert document["metadata"]["name"] in answer["name"]
        code, said = await asyncio.to_thread(doorway.applied, document, "--dry-run=server")
        told = " ".join(said.split())
        assert (code == 0) == answer["valid"], said
        if not answer["valid"]:
            assert " ".join(f"spec.cedar: {answer['message']}".split()) in told
        assert said.count("Warning: ") == len(answer["warnings"]), said
        for warning in answer["warnings"]:
            assert f"Warning: {warning}" in said


async def test_with_the_operator_down_new_texts_wait_and_nothing_else_does(doorway: Doorway) -> None:
    operator = await doorway.opened()
    run, ours = asyncio.to_thread, doorway.namespace
    assert (await run(doorway.applied, policy("p", GOOD, namespace=ours)))[0] == 0
    await doorway.world.until(
        lambda: bool(doorway.world.others["curationpolicies"].present.get("p", {}).get("status", {}).get("conditions")),
        "p has a status",
    )
    await operator.stop()
    code, said = await run(doorway.applied, policy("q", GOOD, namespace=ours))
    assert code == 1
    assert "failed calling webhook" in said
    labelled = policy("p", GOOD, namespace=ours, labels={"changed": "yes"})
    assert (await run(doorway.applied, labelled))[0] == 0
    job = {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": "CurationJob",
        "metadata": {"name": "j"},
        "spec": {"moduleRef": {"name": "nobody"}},
    }
    assert (await run(doorway.applied, job))[0] == 0
    await run(doorway.kubectl, "delete", "curationpolicy", "p", "--wait=false")
    # What is deleted can go, finalizers included, with nobody at the door.
    await run(
        doorway.kubectl, "patch", "curationpolicy", "p", "--type=merge", '--patch={"metadata":{"finalizers":null}}'
    )
    await doorway.world.until(lambda: "p" not in doorway.world.others["curationpolicies"].present, "p is gone")
    await run(doorway.kubectl, "delete", "curationjob", "j", "--wait=false")
    await run(doorway.kubectl, "patch", "curationjob", "j", "--type=merge", '--patch={"metadata":{"finalizers":null}}')


async def test_the_listener_is_started_again_and_a_new_certificate_is_shown_under_load(doorway: Doorway) -> None:
    operator = await doorway.opened()
    run, ours = asyncio.to_thread, doorway.namespace
    listener = next(pid for pid in children(operator) if b"curation.admission.listener" in cmdline(pid))
    os.kill(listener, signal.SIGKILL)
    await doorway.until(lambda: doorway.applied(policy("after", GOOD, namespace=ours))[0] == 0)
    before = doorway.certificate.read_bytes()
    stopped = asyncio.Event()
    failed: list[str] = []

    async def load() -> None:
        number = 0
        while not stopped.is_set():
            number += 1
            code, said = await run(doorway.applied, policy(f"load-{number}", GOOD, namespace=ours), "--dry-run=server")
            if code:
                failed.append(said)

    loading = asyncio.create_task(load())
    certificates.self_signed(doorway.folder, "127.0.0.1")
    after = doorway.certificate.read_bytes()
    # Both are trusted while one takes the place of the other, as the operator's own renewal has it.
    doorway.door.open(f"https://127.0.0.1:{doorway.port}", before + after)
    await operator.until_metric(1, "curation_file_renewals_total", source="https-certificate", result="loaded")
    doorway.door.open(f"https://127.0.0.1:{doorway.port}", after)
    await doorway.until(lambda: doorway.applied(policy("renewed", BROKEN, namespace=ours))[1].count(WHERE) == 1)
    stopped.set()
    await loading
    assert [said for said in failed if "x509" not in said] == []


async def test_jobs_and_modules_are_warned_of_and_never_refused(doorway: Doorway) -> None:
    await doorway.opened()
    run = asyncio.to_thread
    job = {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": "CurationJob",
        "metadata": {"name": "j"},
        "spec": {
            "moduleRef": {"name": "nobody"},
            "suspend": True,
            "input": {"text": "x" * 70_000},
            "observeIntervalSeconds": 5,
        },
    }
    code, said = await run(doorway.applied, job)
    assert code == 0, said
    assert "Warning: spec.observeIntervalSeconds is deprecated: write spec.observe instead" in said
    assert "Warning: spec.moduleRef: there is no CurationModule nobody in this namespace yet" in said
    assert "Warning: spec.input has 70" in said
    module = {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": "CurationModule",
        "metadata": {"name": "m"},
        "spec": {
            "source": {"builtin": "build-session-message-v1"},
            "credentials": [
                {"host": "h.example", "header": "Authorization", "secretKeyRef": {"name": "hidden", "key": "token"}}
            ],
        },
    }
    code, said = await run(doorway.applied, module)
    assert code == 0, said
    assert "Warning: spec.credentials: the operator may not read Secret hidden" in said
    await doorway.until(
        lambda: "no CurationModule" not in doorway.applied({**job, "spec": {"moduleRef": {"name": "m"}}})[1]
    )


def children(operator: OperatorProcess) -> list[int]:
    """Its processes, and theirs."""
    assert operator._process is not None
    found, parents = list[int](), {operator._process.pid}
    for path in sorted(Path("/proc").glob("[0-9]*"), key=lambda each: int(each.name)):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent in parents:
            parents.add(int(path.name))
            found.append(int(path.name))
    return found


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
