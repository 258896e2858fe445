"""A node that runs nothing: it sees pods that are bound to it, and says of each that it runs and that it has succeeded.

Run: ``python -m bench.kubelet KUBECONFIG``, in a process of its own. It makes two writes of a pod's status, through the
real API. A kubelet makes at least three and four Events, a scheduler one binding and one Event; here the pod's template
names the node. So what is measured beside it is the least that a Job costs.

A pod of Argo Workflows has Argo's executor in it, beside the work, and a Workflow does not end well without what that
writes. The node writes the least of it in its stead: a result is begun, gets its outputs, and is whole.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

from bench.client import Client

NODE: Final = "bench-node"
_AT_ONCE: Final = 32
_ARGO: Final = "workflows.argoproj.io"
_WORKFLOW: Final = f"{_ARGO}/workflow"
_WHOLE: Final = f"{_ARGO}/report-outputs-completed"


class Node:
    """The pods of one node."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen: set[str] = set()
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Serve pods until the process ends."""
        path = f"/api/v1/pods?fieldSelector=spec.nodeName%3D{NODE}"
        listed = await self._client.call("GET", path)
        async with asyncio.TaskGroup() as group:
            for pod in listed["items"]:
                self._take(group, pod)
            version = listed["metadata"]["resourceVersion"]
            print("serving pods", flush=True)
            while True:
                watch = f"{path}&watch=1&allowWatchBookmarks=true&resourceVersion={version}"
                async with self._client.send("GET", watch, seconds=None) as answer:
                    answer.raise_for_status()
                    async for line in answer.content:
                        event = json.loads(line)
                        version = event["object"]["metadata"]["resourceVersion"]
                        if event["type"] == "ADDED":
                            self._take(group, event["object"])

    def _take(self, group: asyncio.TaskGroup, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        if uid not in self._seen and pod.get("status", {}).get("phase") == "Pending":
            self._seen.add(uid)
            group.create_task(self._serve(pod))

    async def _serve(self, pod: dict[str, Any]) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        async with self._turns:
            await self._client.call("PATCH", path, {"status": status(pod, ended=False)})
            if _WORKFLOW in metadata.get("labels", {}):
                await self._report(metadata)
            await self._client.call("PATCH", path, {"status": status(pod, ended=True)})

    async def _report(self, metadata: dict[str, Any]) -> None:
        path = f"/apis/argoproj.io/v1alpha1/namespaces/{metadata['namespace']}/workflowtaskresults"
        begun = task_result(metadata)
        await self._client.call("POST", path, begun)
        path += f"/{begun['metadata']['name']}"
        await self._client.call("PATCH", path, {"outputs": {}})
        await self._client.call("PATCH", path, {"metadata": {"labels": {_WHOLE: "true"}}})


def status(pod: dict[str, Any], *, ended: bool) -> dict[str, Any]:
    """What a kubelet says of a pod whose containers all run, or have all ended well."""
    now = pod["metadata"]["creationTimestamp"]
    done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
    state = done if ended else {"running": {"startedAt": now}}
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
    found = {
        "phase": "Succeeded" if ended else "Running",
        "startTime": now,
        "conditions": [{**ready, "status": "False", "reason": "PodCompleted"} if ended else ready],
        "containerStatuses": [_container(each, state, up=not ended) for each in pod["spec"]["containers"]],
    }
    if before := pod["spec"].get("initContainers"):
        found["initContainerStatuses"] = [_container(each, done, up=False) for each in before]
    return found


def _container(container: dict[str, Any], state: dict[str, Any], *, up: bool) -> dict[str, Any]:
    known = {"name": container["name"], "image": container["image"], "imageID": "sha256:0", "restartCount": 0}
    return {**known, "ready": up, "started": up, "state": state}


def task_result(metadata: dict[str, Any]) -> dict[str, Any]:
    """What Argo's executor creates when it begins to wait for the work of a pod."""
    (owner,) = metadata["ownerReferences"]
    labels = {_WORKFLOW: metadata["labels"][_WORKFLOW], _WHOLE: "false"}
    name = metadata["annotations"][f"{_ARGO}/node-id"]
    reference = {key: owner[key] for key in ("apiVersion", "kind", "name", "uid")}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowTaskResult",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [reference]},
    }


async def main(kubeconfig: Path) -> None:
    """Serve pods."""
    async with Client(kubeconfig) as client:
        await Node(client).run()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
