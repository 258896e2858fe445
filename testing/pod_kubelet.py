"""A kubelet of a few lines: it runs the containers of pods as processes of this machine, with real tokens.

It binds each new pod of a namespace to its node (there is no scheduler here), asks the TokenRequest API for the tokens
of projected volumes, starts the one container's command, tells the API server what becomes of it, and ends it when the
pod is deleted. What isolates containers is not here: paths of mounts become folders of the test, and images are names.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from testing.api_client import ApiClient
from testing.controlplane.connection import Connection
from testing.operator_process import PROGRAM

Document = dict[str, Any]
_LAUNCH: Final = """
import os, signal, sys
if sys.platform.startswith("linux"):
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.execv(sys.argv[1], sys.argv[1:])
"""


class PodKubelet(ApiClient):
    """An async context manager; at its end no container runs."""

    def __init__(self, connection: Connection, namespace: str, node: str = "node-1") -> None:
        super().__init__(connection.kubeconfig())
        self._pods = f"/api/v1/namespaces/{namespace}/pods"
        self._namespace = namespace
        self.node = node
        self.starts = asyncio.Event()
        """Cleared, it takes pods and starts none."""
        self.starts.set()
        self.pull_error = ""
        """What keeps images from being pulled, if anything does."""
        self.environment: dict[str, str] = {}
        """Of containers, beside what their pod says."""
        self.processes: dict[str, asyncio.subprocess.Process] = {}
        """By the pod's uid."""
        self.output: dict[str, str] = {}
        """What the containers have written, by the pod's name."""
        self.tokens: dict[str, str] = {}
        """By the pod's uid."""
        self._reasons: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: set[str] = set()
        self._folder = tempfile.TemporaryDirectory(prefix="pod-kubelet-")

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._spawn(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        await super().__aexit__(kind, error, trace)
        self._folder.cleanup()

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """One request as admin."""
        async with self.send(method, path, body) as answer:
            return answer.status, await answer.json(content_type=None)

    async def pods(self) -> list[Document]:
        """All pods of the namespace."""
        _, found = await self.ask("GET", self._pods)
        items: list[Document] = found["items"]
        return items

    def kill(self, uid: str, reason: str = "Error") -> None:
        """End a container at once, as a node does that has no memory (`OOMKilled`) or no mercy."""
        self._reasons[uid] = reason
        os.killpg(self.processes[uid].pid, signal.SIGKILL)

    def pause(self, uid: str) -> None:
        """Freeze a container."""
        os.killpg(self.processes[uid].pid, signal.SIGSTOP)

    def resume(self, uid: str) -> None:
        """End the freeze."""
        os.killpg(self.processes[uid].pid, signal.SIGCONT)

    async def _watch(self) -> None:
        while True:
            _, listed = await self.ask("GET", self._pods)
            for pod in listed["items"]:
                self._see(pod)
            since = listed["metadata"]["resourceVersion"]
            query = f"?watch=1&resourceVersion={since}&timeoutSeconds=300"
            with suppress(OSError, ValueError, TimeoutError):
                async with self.send("GET", self._pods + query, seconds=None) as answer:
                    rest = b""
                    try:
                        async for chunk in answer.content.iter_any():
                            *lines, rest = (rest + chunk).split(b"\n")
                            for line in lines:
                                event = json.loads(line)
                                if event["type"] in ("ADDED", "MODIFIED"):
                                    self._see(event["object"])
                    finally:
                        if answer.connection is not None and answer.connection.transport is not None:
                            answer.connection.transport.abort()

    def _see(self, pod: Document) -> None:
        meta, uid = pod["metadata"], pod["metadata"]["uid"]
        node = pod["spec"].get("nodeName")
        if node is None and "deletionTimestamp" not in meta and f"bind {uid}" not in self._known:
            self._known.add(f"bind {uid}")
            self._spawn(self._bind(pod))
        elif node == self.node and uid not in self._known and pod["status"].get("phase") == "Pending":
            self._known.add(uid)
            self._spawn(self._run(pod))
        if "deletionTimestamp" in meta and f"end {uid}" not in self._known:
            self._known.add(f"end {uid}")
            self._spawn(self._end(pod))

    async def _bind(self, pod: Document) -> None:
        name = pod["metadata"]["name"]
        target = {"apiVersion": "v1", "kind": "Node", "name": self.node}
        await self.ask("POST", f"{self._pods}/{name}/binding", {"metadata": {"name": name}, "target": target})

    async def _run(self, pod: Document) -> None:
        meta, (container,) = pod["metadata"], pod["spec"]["containers"]
        if self.pull_error:
            await self._say(pod, "Pending", {"waiting": {"reason": "ErrImagePull", "message": self.pull_error}})
            while self.pull_error:  # noqa: ASYNC110 - a test changes it
                await asyncio.sleep(0.02)
        await self.starts.wait()
        folder = Path(self._folder.name) / meta["uid"]
        mounts = {}
        for volume in pod["spec"].get("volumes", []):
            path = folder / volume["name"]
            path.mkdir(parents=True)
            for source in volume.get("projected", {}).get("sources", []):
                await self._project(pod, source, path)
            mounts[volume["name"]] = path
        environment = {each["name"]: each.get("value", "") for each in container.get("env", [])}
        for mount in container.get("volumeMounts", []):
            for name, value in environment.items():
                environment[name] = value.replace(mount["mountPath"], str(mounts[mount["name"]]))
        command = [str(PROGRAM) if word == "curation-operator" else word for word in container["command"]]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _LAUNCH),
            *command,
            env={"PATH": os.environ["PATH"], "TMPDIR": str(folder), **self.environment, **environment},
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self.processes[meta["uid"]] = process
        await self._say(pod, "Running", {"running": {}})
        assert process.stdout is not None
        said = self.output.setdefault(meta["name"], "")
        async for line in process.stdout:
            self.output[meta["name"]] = said = (said + line.decode(errors="replace"))[-16384:]
        code = await process.wait()
        code = code if code >= 0 else 128 - code
        reason = self._reasons.get(meta["uid"], "Completed" if code == 0 else "Error")
        await self._say(
            pod, "Succeeded" if code == 0 else "Failed", {"terminated": {"exitCode": code, "reason": reason}}
        )

    async def _project(self, pod: Document, source: Document, path: Path) -> None:
        if (wanted := source.get("serviceAccountToken")) is None:
            return
        meta = pod["metadata"]
        account = pod["spec"]["serviceAccountName"]
        body = {
            "spec": {
                "audiences": [wanted["audience"]],
                "expirationSeconds": wanted["expirationSeconds"],
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]},
            }
        }
        where = f"/api/v1/namespaces/{self._namespace}/serviceaccounts/{account}/token"
        code, answer = await self.ask("POST", where, body)
        assert code == 201, answer
        self.tokens[meta["uid"]] = answer["status"]["token"]
        (path / wanted["path"]).write_text(answer["status"]["token"])

    async def _end(self, pod: Document) -> None:
        """A pod that is deleted: its container is asked to end, then made to, and the object goes."""
        meta, uid = pod["metadata"], pod["metadata"]["uid"]
        process = self.processes.get(uid)
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(meta.get("deletionGracePeriodSeconds") or 1):
                    await process.wait()
            except TimeoutError:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        elif process is None:
            await self._say(pod, "Failed", {"terminated": {"exitCode": 137, "reason": "Error"}})
        await asyncio.sleep(0)
        await self.ask(
            "DELETE",
            f"{self._pods}/{meta['name']}",
            {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}},
        )

    async def _say(self, pod: Document, phase: str, state: Document) -> None:
        """Trap: a container of a status is found by its name, so each status says all of it."""
        container = pod["spec"]["containers"][0]
        status = {
            "phase": phase,
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "ready": phase == "Running",
                    "restartCount": 0,
                    "state": state,
                }
            ],
        }
        await self.ask("PATCH", f"{self._pods}/{pod['metadata']['name']}/status", {"status": status})

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
