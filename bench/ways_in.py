"""Times the ways to a first Running job on a cluster: what README shows, command by command, on a real node.

Run: ``python -m bench.ways_in --node KIT`` (docs/install.md says what a node kit is), or ``--image IMAGE
--sessions-image IMAGE`` for the cluster of the current kubeconfig, which must have nothing of the operator. Both images
are there before a clock starts. Of each way: seconds until the operator is rolled out and takes policies, and until
README's first job is Running, with the sample session service deployed in between. All is removed in the end, as
docs/install.md says.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from hack import chart, release
from hack.e2e.target import ROOT, NodeKit
from tests.harness.readme import first_job, first_objects
from tests.oracles import helm

SYSTEM: Final = "curation-system"
DEPLOYMENT: Final = "deployment/curation-operator"
OVERLAY: Final = "manifests/overlays/default"
SAMPLE: Final = "manifests/samples/session-service"
_ENOUGH_SECONDS: Final = 300.0
_PROBE: Final = {
    "apiVersion": "curation.dev/v1alpha1",
    "kind": "CurationPolicy",
    "metadata": {"name": "probe", "namespace": "default"},
    "spec": {"cedar": "forbid (principal, action, resource);"},
}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to install, and to take away what it installed."""

    name: str
    install: Callable[[], None]
    uninstall: Callable[[], None]


def run(*command: str, stdin: str | None = None) -> str:
    """What it printed. Ends the whole with what it said if it failed."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def until(what: Callable[[], bool], said: str) -> None:
    """Wait for it."""
    ends = time.monotonic() + _ENOUGH_SECONDS
    while not what():
        if time.monotonic() > ends:
            raise SystemExit(f"not within {_ENOUGH_SECONDS:.0f} s: {said}")
        time.sleep(0.2)


def ways(image: str, folder: Path) -> list[Way]:
    """All of them. What is made of the manifests beforehand is in `folder`."""
    name = release.image_of(image)
    overlay = folder / "kustomize"
    overlay.mkdir()
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(ROOT / OVERLAY, overlay.resolve())],
        "images": [{"name": "curation-operator", **name}],
    }
    (overlay / "kustomization.yaml").write_text(json.dumps(document), encoding="utf-8")
    one_file = folder / "install.yaml"
    one_file.write_text(run("kubectl", "kustomize", str(overlay)), encoding="utf-8")
    program, made = str(helm.program()), str(chart.make(folder / "chart"))
    repository, _, tag = image.rpartition(":")
    release_name = ("curation-operator", "-n", SYSTEM)
    settings = ("--set", f"image.repository={repository}", "--set", f"image.tag={tag}")

    def by_helm() -> None:
        run(program, "install", release_name[0], made, *release_name[1:], "--create-namespace", *settings)

    def helm_gone() -> None:
        run(program, "uninstall", *release_name)
        run("kubectl", "delete", "namespace", SYSTEM)
        run("kubectl", "delete", "crd", "-l", "app.kubernetes.io/part-of=curation-operator")

    return [
        Way("kustomize", lambda: _apply("-k", str(overlay)), lambda: _delete("-k", str(overlay))),
        Way("one file", lambda: _apply("-f", str(one_file)), lambda: _delete("-f", str(one_file))),
        Way("Helm", by_helm, helm_gone),
    ]


def _apply(*what: str) -> None:
    run("kubectl", "apply", "--server-side", *what)


def _delete(*what: str) -> None:
    run("kubectl", "delete", *what)


def rolled_out() -> None:
    """The operator is there, and its webhook answers."""
    run("kubectl", "rollout", "status", DEPLOYMENT, "-n", SYSTEM, "--timeout=240s")
    probe = ("kubectl", "create", "--dry-run=server", "-f", "-")

    def accepted() -> bool:
        done = subprocess.run(probe, input=json.dumps(_PROBE), capture_output=True, text=True, check=False)
        return done.returncode == 0

    until(accepted, "a policy is accepted")


def first_runs(sessions: str, folder: Path) -> None:
    """README's "Use it" until the job is Running."""
    sample = folder / "sample"
    sample.mkdir(exist_ok=True)
    name, _, tag = sessions.rpartition(":")
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(ROOT / SAMPLE, sample.resolve())],
        "images": [{"name": "curation-sessions", "newName": name, "newTag": tag}],
    }
    (sample / "kustomization.yaml").write_text(json.dumps(document), encoding="utf-8")
    run("kubectl", "apply", "-k", str(sample))
    where = ("service", "sessions", "-n", "sample-sessions", "-o", "jsonpath={.spec.clusterIP}")
    address = run("kubectl", "get", *where)
    run("kubectl", "set", "env", DEPLOYMENT, "-n", SYSTEM, f"CURATION_ALLOW_CIDR={address}/32")
    for rolled, place in ((DEPLOYMENT, SYSTEM), ("deployment/sessions", "sample-sessions")):
        run("kubectl", "rollout", "status", rolled, "-n", place, "--timeout=240s")
    text = first_job()
    look = "import socket; socket.getaddrinfo('kubernetes.default.svc', 443)"
    inside = ("kubectl", "exec", "deployment/sessions", "-n", "sample-sessions", "--", "python", "-c", look)
    if subprocess.run(inside, capture_output=True, check=False).returncode:
        # A node kit may have no DNS.
        host = re.sub(r"^http://|:[0-9]+$", "", first_objects()["CurationJob"]["spec"]["config"]["api_url"])
        text = text.replace(host, address)
    run("kubectl", "create", "namespace", "team-a")
    applied = ("kubectl", "apply", "-f", "-")
    until(
        lambda: subprocess.run(applied, input=text, capture_output=True, text=True, check=False).returncode == 0,
        "the first job is accepted",
    )
    phase = ("kubectl", "get", "cjob", "first", "-n", "team-a", "-o", "jsonpath={.status.phase}")
    try:
        until(lambda: run(*phase) in ("Running", "Completed"), "the first job is Running")
    except SystemExit:
        print(run("kubectl", "get", "cjob", "first", "-n", "team-a", "-o", "yaml"))
        print(run("kubectl", "get", "pods", "-A"))
        raise


def clean() -> None:
    """The jobs and the sample go, while the operator is there."""
    run("kubectl", "delete", "curationjobs", "--all", "--all-namespaces")
    run("kubectl", "delete", "curationmodules,curationpolicies,curationapprovals", "--all", "--all-namespaces")
    run("kubectl", "delete", "namespace", "team-a", "sample-sessions")


def measure(image: str, sessions: str, rounds: int) -> None:
    """Print a line for each way and round."""
    with TemporaryDirectory(dir=ROOT) as made:
        folder = Path(made)
        found = ways(image, folder)
        print(f"{'way':<12}{'operator is there':>20}{'first job Running':>20}   (s, from the first command)")
        for _ in range(rounds):
            for way in found:
                began = time.monotonic()
                way.install()
                rolled_out()
                there = time.monotonic() - began
                first_runs(sessions, folder)
                running = time.monotonic() - began
                print(f"{way.name:<12}{there:>20.1f}{running:>20.1f}", flush=True)
                clean()
                way.uninstall()


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.ways_in", description="The ways to a first Running job.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--node", type=Path, metavar="KIT", help="the folder of a node kit")
    where.add_argument("--image", help="of the operator, for the cluster of the current kubeconfig")
    parser.add_argument("--sessions-image", help="with --image: of the sample session service")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.node is None:
        if not arguments.sessions_image:
            parser.error("--image needs --sessions-image")
        measure(arguments.image, arguments.sessions_image, arguments.rounds)
        return 0
    helm.program()  # the node has no way out
    with NodeKit(arguments.node, keep=False) as kit:
        options = ("--image", kit.image, "--sessions-image", kit.sessions, "--rounds", str(arguments.rounds))
        again = kit.command(sys.executable, "-m", "bench.ways_in", *options)
        return subprocess.run(again, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
