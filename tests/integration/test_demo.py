"""`python -m demo` as a person runs it: it passes, it can be interrupted, it fails when the operator dies.

In each case nothing is left: no process, and no folder but the logs of a failure.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from testing.controlplane.connection import Connection
from testing.controlplane.ports import free_port
from testing.controlplane.server import ControlPlane

ROOT = Path(__file__).parents[2]
SECONDS = 300.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the demo makes its temporary folders. Not `tmp_path`: etcd's sockets have no room for a path so long."""
    made = Path(tempfile.mkdtemp(prefix="demo-"))
    yield made
    shutil.rmtree(made)


@contextmanager
def demo(folder: Path, *arguments: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "demo", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: "subprocess.Popen[str]", text: str) -> str:
    """What it prints up to this; it never prints so much that the other end of the pipe fills up."""
    assert process.stdout is not None
    read = ""
    for line in process.stdout:
        read += line
        if text in line:
            return read
    raise AssertionError(f"the demo ended without saying {text!r}:\n{read}")


def processes(folder: Path) -> dict[int, list[str]]:
    """The processes that the demo with this folder has started, and that still run."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # A zombie has no environment left.
            if str(folder).encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_text().split("\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def test_the_demo_passes_and_leaves_nothing_behind(folder: Path) -> None:
    transcript = folder / "transcript.txt"
    with demo(folder, "--transcript", str(transcript)) as process:
        printed, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, printed
    assert "Of ten jobs 10 Running, none killed, 3 stale completions dropped, no orphan session left." in printed
    assert printed.count("g1.a1 superseded, unanswered") == 3
    assert "\x1b" not in printed
    # Standard error is among what was printed: a first build shows its progress there.
    assert set(transcript.read_text().splitlines()) <= set(printed.splitlines())
    assert list(folder.iterdir()) == [transcript]
    assert processes(folder) == {}


def test_an_interrupted_demo_stops_everything_it_has_started(folder: Path) -> None:
    with demo(folder, "--keep") as process:
        read_until(process, "manifests/jobs.yaml")
        programs = " ".join(word for command in processes(folder).values() for word in command)
        assert "curation-operator" in programs
        assert "kube-apiserver" in programs
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 130, printed
    assert list(folder.iterdir()) == []
    assert processes(folder) == {}


def test_a_demo_whose_operator_dies_fails_and_says_why(folder: Path) -> None:
    with demo(folder) as process:
        read_until(process, "manifests/jobs.yaml")
        for number, command in processes(folder).items():
            if any(word.endswith("bin/curation-operator") for word in command):
                os.kill(number, signal.SIGKILL)
        printed, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 1, printed
    assert "FAILED: the curation-operator has ended with -9" in printed
    (kept,) = folder.iterdir()
    assert f"The logs are kept in {kept}" in " ".join(printed.split())
    assert "launching run" in (kept / "curation-operator.log").read_text()
    assert processes(folder) == {}


def everything(cluster: Connection) -> set[str]:
    """All that the demo could leave in a cluster."""
    kinds = "customresourcedefinitions,namespaces,clusterroles,clusterrolebindings,validatingadmissionpolicies,"
    kinds += "validatingadmissionpolicybindings,mutatingadmissionpolicies,mutatingadmissionpolicybindings"
    return set(cluster.kubectl("get", kinds, "-o", "name").stdout.split())


def current(cluster: Connection) -> dict[str, str]:
    """The environment of somebody whose current cluster this is."""
    own = cluster.environment()
    return {"KUBECONFIG": own["KUBECONFIG"], "PATH": own["PATH"]}


def test_a_demo_on_the_current_cluster_says_what_it_does_and_removes_all_of_it(folder: Path) -> None:
    with ControlPlane() as server:
        cluster = server.connection
        cluster.kubectl("create", "configmap", "mine", "--from-literal=a=b")
        before = everything(cluster)
        with demo(folder, "--cluster", "current", **current(cluster)) as process:
            read_until(process, "manifests/jobs.yaml")
            assert {"namespace/demo", "namespace/curation-system"} <= everything(cluster)
            assert not cluster.kubectl("get", "deployments,pods", "-A", "-o", "name").stdout
            process.send_signal(signal.SIGTERM)
            printed, _ = process.communicate(timeout=SECONDS)
            assert process.returncode == 130, printed
        assert "failed" not in printed
        assert everything(cluster) == before
        with demo(folder, "--cluster", "current", **current(cluster)) as process:
            printed, _ = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, printed
        said = " ".join(printed.split())
        assert f"The cluster of context local ({cluster.url}) runs Kubernetes" in said
        assert "It gets the objects of manifests/overlays/default but for the operator's pods" in said
        assert "Of ten jobs 10 Running, none killed, 3 stale completions dropped, no orphan session left." in said
        assert "failed" not in said.partition("Deleting the jobs")[2]
        assert everything(cluster) == before
        assert cluster.kubectl("get", "configmap", "mine", "-o", "jsonpath={.data.a}").stdout == "b"
        assert list(folder.iterdir()) == []
        assert processes(folder) == {}


@contextmanager
def kubectl_that_stops_at(folder: Path, cluster: Connection, *words: str) -> Iterator[dict[str, str]]:
    """The environment of somebody whose kubectl says so in `folder/stopped` and waits, at a command with one of these.

    It does so once for each.
    """
    made = Path(tempfile.mkdtemp(prefix="kubectl-"))
    stops = "".join(
        f"""*"{word}"*) if mkdir {made}/{number}; then echo {number} > {folder}/stopped; sleep 300; fi;;\n"""
        for number, word in enumerate(words)
    )
    program = made / "kubectl"
    program.write_text(f'#!/bin/sh\ncase "$*" in\n{stops}esac 2> {made}/log\nexec {cluster.binaries}/kubectl "$@"\n')
    program.chmod(0o755)
    there = current(cluster)
    yield {**there, "PATH": f"{made}{os.pathsep}{there['PATH']}"}
    shutil.rmtree(made)


def interrupt_at(process: "subprocess.Popen[str]", folder: Path, stop: int) -> None:
    """Ctrl-C when kubectl has come to that stop."""
    said, deadline = folder / "stopped", time.monotonic() + SECONDS
    while not said.exists() or said.read_text() != f"{stop}\n":
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, f"waited {SECONDS:.0f} s in vain until kubectl is called"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)


def test_a_demo_that_is_interrupted_while_it_installs_or_removes_leaves_nothing_unsaid(folder: Path) -> None:
    with ControlPlane() as server:
        cluster = server.connection
        before = everything(cluster)
        # While it tries which admission policies work.
        with (
            kubectl_that_stops_at(folder, cluster, "create configmap curation-choose-admission") as environment,
            demo(folder, "--cluster", "current", **environment) as process,
        ):
            interrupt_at(process, folder, 0)
            printed, _ = process.communicate(timeout=SECONDS)
            assert process.returncode == 130, printed
        assert everything(cluster) == before
        (folder / "stopped").unlink()
        # While it waits for the kinds, and once more while it removes them.
        with (
            kubectl_that_stops_at(folder, cluster, "wait --for=", "delete namespace demo") as environment,
            demo(folder, "--cluster", "current", **environment) as process,
        ):
            interrupt_at(process, folder, 0)
            interrupt_at(process, folder, 1)
            printed, _ = process.communicate(timeout=SECONDS)
            assert process.returncode == 130, printed
        assert everything(cluster) > before
        said = " ".join(printed.split())
        assert "Interrupted while it was removed. What is left in the cluster goes with these commands" in said
        commands = said.partition("these commands")[2].split("`")[1::2]
        for command in commands:
            assert command.startswith("kubectl --context local delete ")
            cluster.kubectl(*command.split()[1:])
        assert everything(cluster) == before


def refused(folder: Path, **environment: str) -> str:
    """What a demo says that starts nothing."""
    with demo(folder, "--cluster", "current", **environment) as process:
        printed, _ = process.communicate(timeout=SECONDS)
        assert process.returncode == 1, printed
    assert list(folder.iterdir()) == []
    return " ".join(printed.partition("FAILED: ")[2].split())


def test_a_demo_without_a_current_cluster_says_how_to_get_one(folder: Path, control_plane: Connection) -> None:
    there = {**current(control_plane), "KUBECONFIG": str(folder / "none")}
    said = refused(folder, **there)
    assert said.startswith("there is no current cluster in the kubeconfig (")
    assert "`kind create cluster`, or run `make demo` without CLUSTER" in said


def test_a_demo_on_a_cluster_that_does_not_answer_says_so(
    folder: Path, control_plane: Connection, tmp_path: Path
) -> None:
    gone = tmp_path / "gone.yaml"
    text = control_plane.kubeconfig().read_text()
    gone.write_text(text.replace(control_plane.url, f"https://127.0.0.1:{free_port()}"))
    said = refused(folder, **{**current(control_plane), "KUBECONFIG": str(gone)})
    assert said.startswith("the cluster of context local does not answer (")


def test_a_demo_refuses_a_cluster_that_has_the_operators_kinds_and_changes_nothing_there(
    folder: Path, installed: Connection
) -> None:
    policies = "validatingadmissionpolicies,mutatingadmissionpolicies"
    before = installed.kubectl("get", policies, "-o", "jsonpath={.items[*].metadata.resourceVersion}").stdout
    said = refused(folder, **current(installed))
    assert "customresourcedefinition.apiextensions.k8s.io/" in said
    assert "already. The demo removes what it installs, so it never uses what is there." in said
    assert installed.kubectl("get", policies, "-o", "jsonpath={.items[*].metadata.resourceVersion}").stdout == before


def test_a_demo_of_somebody_who_is_no_administrator_names_what_they_may_not_do(
    folder: Path, control_plane: Connection
) -> None:
    kubeconfig = str(control_plane.kubeconfig("eve", ("system:authenticated",)))
    said = refused(folder, **{**current(control_plane), "KUBECONFIG": kubeconfig})
    assert "you may not create customresourcedefinitions, create clusterroles" in said


def test_a_demo_on_the_current_cluster_needs_a_kubectl(folder: Path) -> None:
    python = Path(sys.executable).parent
    assert "there is none on the PATH: install it" in refused(folder, PATH=str(python))
