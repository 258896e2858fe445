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


def kustomized(folder: Path, base: str, image: dict[str, str], *components: str) -> Path:
    """The folder, with a kustomization of this base and these components of the repository."""
    folder.mkdir(exist_ok=True)

    def seen_from_there(name: str) -> str:
        return os.path.relpath(ROOT / name, folder.resolve())  # kustomize takes no absolute paths

    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [seen_from_there(base)],
        "components": [seen_from_there(each) for each in components],
        "images": [image],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(document), encoding="utf-8")
    return folder


def ways(image: str, folder: Path) -> list[Way]:
    """All of them. What is made of the manifests beforehand is in `folder`."""
    overlay = kustomized(folder / "kustomize", OVERLAY, release.image_of(image))
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
    named = {**release.image_of(sessions), "name": "curation-sessions"}
    sample = kustomized(folder / "sample", SAMPLE, named)
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


def on_a_node(module: str, about: str, measure: Callable[[str, str, int], None], rounds: int) -> int:
    """The command line of a bench that measures with the images of operator and session service, so many rounds.

    Returns the exit code. With `--node` the module is run once more inside the node's network.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=about)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--node", type=Path, metavar="KIT", help="the folder of a node kit; NODE_DNS=1 gives it names")
    where.add_argument("--image", help="of the operator, for the cluster of the current kubeconfig")
    parser.add_argument("--sessions-image", help="with --image: of the sample session service")
    parser.add_argument("--rounds", type=int, default=rounds)
    arguments = parser.parse_args()
    if arguments.node is None:
        if not arguments.sessions_image:
            parser.error("--image needs --sessions-image")
        measure(arguments.image, arguments.sessions_image, arguments.rounds)
        return 0
    with NodeKit(arguments.node, keep=False) as kit:
        options = ("--image", kit.image, "--sessions-image", kit.sessions, "--rounds", str(arguments.rounds))
        again = kit.command(sys.executable, "-m", module, *options)
        return subprocess.run(again, cwd=ROOT, check=False).returncode


def main() -> int:
    """Returns the exit code."""
    helm.program()  # the node has no way out
    return on_a_node("bench.ways_in", "The ways to a first Running job.", measure, 1)


if __name__ == "__main__":
    sys.exit(main())
