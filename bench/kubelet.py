"""A node that runs nothing: it sees pods that are bound to it, and says of each that it runs and that it has succeeded.

Run: ``python -m bench.kubelet KUBECONFIG``, in a process of its own. It makes two writes of a pod's status, through the
real API. A kubelet makes at least three and four Events, a scheduler one binding and one Event; here the pod's template
names the node. So what is measured beside it is the least that a Job costs.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final

from bench.client import Client

NODE: Final = "bench-node"
_AT_ONCE: Final = 32


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
            group.create_task(self._serve(pod["metadata"], pod["spec"]["containers"][0]))

    async def _serve(self, metadata: dict[str, Any], container: dict[str, Any]) -> None:
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        now = metadata["creationTimestamp"]
        known = {"name": container["name"], "image": container["image"], "imageID": "sha256:0", "restartCount": 0}
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
        async with self._turns:
            running = {**known, "ready": True, "started": True, "state": {"running": {"startedAt": now}}}
            await self._client.call("PATCH", path, {"status": _status("Running", running, now, ready)})
            ended = {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}
            done = {**known, "ready": False, "started": False, "state": {"terminated": ended}}
            no_longer = {**ready, "status": "False", "reason": "PodCompleted"}
            await self._client.call("PATCH", path, {"status": _status("Succeeded", done, now, no_longer)})


def _status(phase: str, container: dict[str, Any], now: str, ready: dict[str, Any]) -> dict[str, Any]:
    return {"phase": phase, "startTime": now, "conditions": [ready], "containerStatuses": [container]}


async def main(kubeconfig: Path) -> None:
    """Serve pods."""
    async with Client(kubeconfig) as client:
        await Node(client).run()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
