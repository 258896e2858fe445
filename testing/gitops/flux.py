"""Flux' two controllers as processes of a local control plane, as `flux install` would run them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from testing.controlplane.connection import Connection, service_account
from testing.controlplane.ports import free_port
from testing.gitops.build import CRDS

NAMESPACE = "flux-system"
KUSTOMIZE_USER, KUSTOMIZE_GROUPS = service_account(NAMESPACE, "kustomize-controller")
SOURCE_USER, SOURCE_GROUPS = service_account(NAMESPACE, "source-controller")
GATE = "CancelHealthCheckOnNewRevision"
_STOP_SECONDS = 30.0


def install(connection: Connection, programs: Path) -> None:
    """The CRDs, the namespace, and cluster-admin for both, which `flux install` gives them."""
    connection.kubectl("apply", "--server-side", "-f", str(programs / CRDS))
    crds = [f"crd/{path.stem.split('_')[1]}.{path.stem.split('_')[0]}" for path in (programs / CRDS).glob("*.yaml")]
    connection.kubectl("wait", "--for=condition=Established", "--timeout=120s", *crds)
    if connection.kubectl("get", "namespace", NAMESPACE, check=False).returncode:
        connection.kubectl("create", "namespace", NAMESPACE)
        connection.kubectl(
            *("create", "clusterrolebinding", "flux", "--clusterrole=cluster-admin"),
            *(f"--user={user}" for user in (KUSTOMIZE_USER, SOURCE_USER)),
        )


class Flux:
    """A context manager. With `gate`, kustomize-controller gives up waiting for health when a commit comes."""

    def __init__(self, connection: Connection, programs: Path, *, gate: bool, options: Sequence[str] = ()) -> None:
        self._connection = connection
        self._programs = programs
        self._gates = (f"--feature-gates={GATE}={'true' if gate else 'false'}",)
        self._options = tuple(options)
        self._folder = Path(tempfile.mkdtemp(prefix="curation-flux-"))
        self._running: list[subprocess.Popen[bytes]] = []
        self._logs: list[IO[bytes]] = []

    def __enter__(self) -> Flux:
        try:
            storage = f"127.0.0.1:{free_port()}"
            self._run(
                "source-controller",
                SOURCE_USER,
                SOURCE_GROUPS,
                f"--storage-path={self._folder}",
                f"--storage-addr={storage}",
                f"--storage-adv-addr={storage}",
            )
            self._run("kustomize-controller", KUSTOMIZE_USER, KUSTOMIZE_GROUPS, *self._gates, *self._options)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def check(self) -> None:
        """Raises AssertionError with the end of its log if one of them has ended."""
        for process, log in zip(self._running, self._logs, strict=True):
            code = process.poll()
            assert code is None, f"{log.name} ended with {code}:\n{Path(log.name).read_text()[-3000:]}"

    def log(self, program: str) -> str:
        """What it has said."""
        return (self._folder / f"{program}.log").read_text()

    def _run(self, program: str, user: str, groups: Sequence[str], *options: str) -> None:
        log = (self._folder / f"{program}.log").open("wb")
        self._logs.append(log)
        home = self._folder / program
        home.mkdir()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TMPDIR": str(home),
            "RUNTIME_NAMESPACE": NAMESPACE,
            "KUBECONFIG": str(self._connection.kubeconfig(user, groups)),
        }
        command = [
            str(self._programs / program),
            "--watch-all-namespaces=true",
            "--enable-leader-election=false",
            "--log-level=info",
            f"--metrics-addr=127.0.0.1:{free_port()}",
            f"--health-addr=127.0.0.1:{free_port()}",
            "--events-addr=",
            *options,
        ]
        self._running.append(subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log))

    def _stop(self) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for log in self._logs:
            log.close()
        shutil.rmtree(self._folder, ignore_errors=True)
