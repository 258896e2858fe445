"""How much later than a bare Job's pod a guest in a pod is at work, on a real node.

Run: ``NODE_DNS=1 python -m bench.pod_start --node KIT [--rounds 10]`` (docs/install.md says what a node kit is), or
with ``--image IMAGE --sessions-image IMAGE`` on the cluster of the current kubeconfig, which must have nothing of the
operator. In turns: a CurationJob with executor Job, from its creation until phase Running, by when its pod was started,
its guest has made three calls, and its status was written three times; and two batch/v1 Jobs of the same image, from
their creation until their pod is seen Running: one as people write it, whose pod has the token that the cluster mounts
unless it is told not to, and one without any volume. The difference between these two is the kubelet's: it looks at
once whether the volumes of a pod are there, which they never are, and then again after 300 ms
(`podAttachAndMountRetryInterval` in its volume manager).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench import ways_in
from bench.client import Client
from bench.ways_in import run
from hack import release
from hack.e2e.target import ROOT

JOBS: Final = "/apis/curation.dev/v1alpha1/namespaces/team-a/curationjobs"
BARE: Final = "/apis/batch/v1/namespaces/team-a/jobs"
PODS: Final = "/api/v1/namespaces/team-a/pods"
COMPONENT: Final = "manifests/components/guest-pods"
_WARM: Final = 2
_ENOUGH_SECONDS: Final = 120.0

Object = dict[str, Any]


def _shown_running(shown: Object) -> bool:
    return bool(shown.get("status", {}).get("phase") == "Running")


async def until(client: Client, path: str, shown: Callable[[Object], bool]) -> float:
    """When an object of this collection is first shown so, by the monotonic clock."""
    async with asyncio.timeout(_ENOUGH_SECONDS), client.send("GET", f"{path}?watch=1", seconds=None) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if shown(json.loads(line)["object"]):
                return time.monotonic()
    raise RuntimeError(f"the watch of {path} has ended")


async def until_running(client: Client, made_in: str, document: Object, watched: str, name: str) -> float:
    """Seconds from its creation until an object whose name begins so is Running."""

    def shown(found: Object) -> bool:
        return str(found["metadata"]["name"]).startswith(name) and _shown_running(found)

    running = asyncio.create_task(until(client, watched, shown))
    await asyncio.sleep(0.5)  # the watch is there
    began = time.monotonic()
    await client.call("POST", made_in, document)
    return await running - began


def ours(name: str, first: Object) -> Object:
    """README's first job, in a pod."""
    return {**first, "metadata": {"name": name}, "spec": {**first["spec"], "executor": {"type": "Job"}}}


def bare(name: str, image: str, *, token: bool) -> Object:
    """A Job of one pod that waits a moment, with the cluster's token, which is the default, or without a volume."""
    container = {"name": "work", "image": image, "command": ["sleep", "2"], "imagePullPolicy": "IfNotPresent"}
    pod = {"restartPolicy": "Never", "automountServiceAccountToken": token, "containers": [container]}
    spec = {"backoffLimit": 0, "template": {"spec": {**pod, "terminationGracePeriodSeconds": 0}}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


async def compared(kubeconfig: Path, image: str, rounds: int) -> None:
    """Print a line for each round, and the medians."""
    found: dict[str, list[float]] = {kind: [] for kind in ("in a pod", "bare", "no volume")}
    async with Client(kubeconfig) as client:
        shown = await client.call("GET", f"{JOBS}/first")
        first = {"apiVersion": shown["apiVersion"], "kind": shown["kind"], "spec": shown["spec"]}
        print("".join(f"{kind:>12}" for kind in found), "  (s)")
        for number in range(_WARM + rounds):
            name, plain = f"start-{number}", f"plain-{number}"
            took = {
                "in a pod": await until_running(client, JOBS, ours(name, first), JOBS, name),
                "bare": await until_running(client, BARE, bare(name, image, token=True), PODS, name),
                "no volume": await until_running(client, BARE, bare(plain, image, token=False), PODS, plain),
            }
            if number >= _WARM:
                for kind, seconds in took.items():
                    found[kind].append(seconds)
                print("".join(f"{seconds:>12.2f}" for seconds in took.values()), flush=True)
            for each in (name, plain):
                await client.call("DELETE", f"{BARE}/{each}", {"propagationPolicy": "Background"})
            await client.call("DELETE", f"{JOBS}/{name}")
    mine, *others = (median(seconds) for seconds in found.values())
    later = " and ".join(f"{1000 * (mine - theirs):.0f}" for theirs in others)
    print(f"medians: {mine:.2f}, {others[0]:.2f} and {others[1]:.2f} s; a guest in a pod is Running {later} ms later")


def measure(image: str, sessions: str, rounds: int) -> None:
    """Install the operator with guest pods, compare, and take it away."""
    with TemporaryDirectory(dir=ROOT) as made:
        folder = Path(made)
        ways_in.kustomized(folder, ways_in.OVERLAY, release.image_of(image), COMPONENT)
        run("kubectl", "apply", "--server-side", "-k", str(folder))
        try:
            ways_in.rolled_out()
            ways_in.first_runs(sessions, folder)
            kubeconfig = folder / "kubeconfig"
            kubeconfig.touch(mode=0o600)
            kubeconfig.write_text(run("kubectl", "config", "view", "--raw", "--flatten", "-o", "json"))
            asyncio.run(compared(kubeconfig, image, rounds))
        finally:
            ways_in.clean()
            run("kubectl", "delete", "-k", str(folder))


def main() -> int:
    """Returns the exit code."""
    return ways_in.on_a_node("bench.pod_start", "The start of a guest in a pod.", measure, 10)


if __name__ == "__main__":
    sys.exit(main())
