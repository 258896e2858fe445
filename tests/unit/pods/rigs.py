"""A rig whose guests are in pods: processes of this machine that run `curation-operator guest`, with a real door."""

import asyncio
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from curation.execution.seam import ExecutionRequest
from curation.isolation.nursery import Nursery
from curation.lifecycle.outcome import Liveness, Result, Trigger
from curation.pods.door_host import Door
from curation.pods.seam import Admitted, Knock, Turned
from curation.pods.variables import (
    AUTHORITY_VARIABLE,
    DOOR_VARIABLE,
    EXECUTION_VARIABLE,
    SERVER_NAME_VARIABLE,
    TOKEN_FILE_VARIABLE,
)
from curation.workers.cell import Settings
from curation.workers.executor import WorkersExecutor
from curation.workers.targets import TEMPLATE
from tests.harness.certificates import self_signed
from tests.unit.execution.conftest import GENEROUS, Heard, Rig, ended
from tests.unit.workers.rigs import SETTINGS

SERVER_NAME = "door.test"
COMMAND = (sys.executable, "-m", "curation.cli.entry", "guest")


@dataclass
class Pod:
    """One that was made."""

    execution: str
    token: str
    process: subprocess.Popen[bytes] | None
    log: Path
    ended: bool = False
    """Whether the operator has said that it may go."""

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    async def exited(self) -> int:
        """Its exit code, once it has ended."""
        assert self.process is not None
        async with asyncio.timeout(GENEROUS):
            while (code := self.process.poll()) is None:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.01)
        return code


@dataclass
class Cluster:
    """Makes pods, and judges who knocks: what a cluster and the reconciler do. It outlives operators."""

    folder: Path
    certificate: bytes
    key: bytes
    port: int = 0
    pods: dict[str, Pod] = field(default_factory=dict)
    runs: bool = True
    """Whether the pods that are asked for are started."""
    turns: Turned | None = None
    """What everybody is told who knocks, instead of being let in."""
    knocks: list[Knock] = field(default_factory=list)

    def start(self, request: ExecutionRequest, artifact_bytes: int) -> None:
        """See `GuestPods`."""
        assert artifact_bytes > 0
        if request.execution not in self.pods:
            self.make(request.execution)

    def make(self, execution: str) -> Pod:
        token, number = secrets.token_hex(16), len(self.pods)
        file, log = self.folder / f"token-{number}", self.folder / f"pod-{number}.log"
        file.write_text(token)
        environment = {
            DOOR_VARIABLE: f"127.0.0.1:{self.port}",
            SERVER_NAME_VARIABLE: SERVER_NAME,
            AUTHORITY_VARIABLE: self.certificate.decode(),
            EXECUTION_VARIABLE: execution,
            TOKEN_FILE_VARIABLE: str(file),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        process = None
        if self.runs:
            with log.open("wb") as output:
                process = subprocess.Popen(COMMAND, env=environment, stderr=output, stdin=subprocess.DEVNULL)
        pod = self.pods[execution] = Pod(execution, token, process, log)
        return pod

    def ended(self, execution: str) -> None:
        """See `GuestPods`."""
        if (pod := self.pods.get(execution)) is not None:
            pod.ended = True

    def liveness(self, execution: str) -> Liveness:
        """See `GuestPods`."""
        pod = self.pods.get(execution)
        return Liveness.ALIVE if pod is not None and not pod.ended else Liveness.GONE

    async def judge(self, knock: Knock) -> Admitted | Turned:
        """See `Doorkeeper`."""
        self.knocks.append(knock)
        if self.turns is not None:
            return self.turns
        pod = self.pods.get(knock.execution)
        if pod is None or not secrets.compare_digest(pod.token, knock.token):
            return Turned("it is not the pod of this execution", final=True)
        return Admitted(f"pod-{knock.execution}")

    def close(self) -> None:
        for pod in self.pods.values():
            pod.kill()


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    pem, _ = self_signed(folder, SERVER_NAME)
    made = Cluster(folder, pem.read_bytes(), pem.with_suffix(".key").read_bytes())
    try:
        yield made
    finally:
        made.close()


@dataclass
class PodRig(Rig):
    """An executor whose Submit runs are in pods."""

    cluster: Cluster = field(kw_only=True)
    door: Door = field(kw_only=True)

    def request(self, wasm: bytes, trigger: Trigger = Trigger.SUBMIT, **more: Any) -> ExecutionRequest:
        return replace(super().request(wasm, trigger, **more), in_pod=trigger is Trigger.SUBMIT)

    def attach(self, before: Heard) -> Heard:
        """Listen to an execution that an operator before this one has started."""
        heard = Heard.__new__(Heard)
        heard.request, heard.words, heard._executor = before.request, [], self.executor
        heard.ended = asyncio.get_running_loop().create_future()
        self.executor.attach(before.request, heard.hear)
        return heard

    async def resumed(self, before: Heard) -> Result:
        """What it comes to, listened to by this operator."""
        return (await ended(self.attach(before))).result

    def pod(self, heard: Heard) -> Pod:
        return self.cluster.pods[heard.request.execution]


def listening(port: int = 0) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    made.listen(64)
    return made


@asynccontextmanager
async def operator(
    around: Rig,
    pods: Cluster,
    settings: Settings = SETTINGS,
    *,
    grace: float = 5,
    nursery: Nursery | None = None,
    **more: Any,
) -> AsyncIterator[PodRig]:
    """An operator with a door, at the port that those before it had."""
    nursery = nursery or Nursery(TEMPLATE)
    executor = WorkersExecutor(
        around.modules,
        around.book,
        around.stock,
        settings,
        observer=around.notes,
        nursery=nursery,
        pods=pods,
        **more,
    )
    sock = listening(pods.port)
    pods.port = sock.getsockname()[1]
    door = Door(nursery, [sock], pods, lambda: (pods.certificate, pods.key), executor.join)
    door.start()
    made = {name: getattr(around, name) for name in Rig.__dataclass_fields__}
    try:
        yield PodRig(**{**made, "executor": executor}, cluster=pods, door=door)
    finally:
        await executor.drain(grace=grace)
        assert executor.workers == {}
        await door.close()
        await nursery.close()


@asynccontextmanager
async def with_pods(around: Rig, folder: Path, **more: Any) -> AsyncIterator[PodRig]:
    async with cluster(folder) as pods, operator(around, pods, **more) as rig:
        try:
            yield rig
        finally:
            around.peer.go_on.set()
