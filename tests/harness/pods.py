"""A test's world whose jobs run in pods: the operator's options, and a node that runs the pods as processes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import yaml

from testing.admin_client import AdminClient, Document
from testing.controlplane import namespaces
from testing.controlplane.connection import Connection
from testing.controlplane.ports import free_port
from testing.controlplane.server import ControlPlane
from testing.operator_process import PROGRAM, OperatorProcess
from testing.pod_kubelet import PodKubelet
from testing.sessions import SessionService
from testing.sessions.faults import Rule
from tests.harness import leases
from tests.harness.slow_runs import Point, hold, until_held
from tests.harness.world import World, watched

_COMPONENT: Final = Path(__file__).parents[2] / "manifests" / "components" / "guest-pods"
_BATCH: Final = "/apis/batch/v1/namespaces"


class PodWorld(World):
    """A world like any other, but that its jobs are made to run in pods, and that its operators elect a leader."""

    def __init__(self, cluster: AdminClient, service: SessionService, module_cache: Path, guests: str) -> None:
        super().__init__(cluster, service, module_cache)
        self.door_port = free_port()
        self.guests = guests
        """The namespace of the pods."""
        self.inherits_at_once = False
        """Whether whoever is started after a leader that was killed need not wait until its lease has run out."""

    def operator(
        self,
        *options: str,
        kubeconfig: Path | None = None,
        environment: Mapping[str, str] | None = None,
        lease: bool = True,
        command: Sequence[str] = (str(PROGRAM),),
    ) -> OperatorProcess:
        """One with guest pods, not started yet. Of two at a time the later one has no port for its door."""
        of_pods = (
            "--guest-pods",
            f"--guest-namespace={self.guests}",
            "--guest-image=operator:test",
            f"--door-bind=127.0.0.1:{self.door_port}",
            f"--door-address=localhost:{self.door_port}",
        )
        return super().operator(
            *of_pods, *options, kubeconfig=kubeconfig, environment=environment, lease=lease, command=command
        )

    async def start_operator(
        self, *options: str, kubeconfig: Path | None = None, lease: bool = True
    ) -> OperatorProcess:
        """One that is ready, and leads."""
        if self.inherits_at_once and self.operators and not any(each.running for each in self.operators):
            await leases.take_from_the_dead(self.cluster)
        operator = self.operator(*options, kubeconfig=kubeconfig, lease=lease)
        await operator.start()
        await self.until(lambda: bool(operator.logged("working as")), "the operator leads", leases.TAKEOVER_SECONDS)
        return operator

    async def create_job(self, name: str = "job-0", **spec: Any) -> Document:
        """A job of the shipped module, in a pod."""
        return await super().create_job(name, **{"executor": {"type": "Job"}, **spec})


class Pods:
    """A world of pods, the node that they run on, and what can be done to them there."""

    def __init__(self, world: PodWorld, kubelet: PodKubelet, plane: ControlPlane) -> None:
        self.world = world
        self._plane = plane
        self.kubelet = kubelet

    async def create_held_job(self, point: Point) -> Rule:
        """One whose first attempt is held at this point; it is there when this returns."""
        rule = hold(self.world, point)
        await self.world.create_job()
        await until_held(self.world, rule, 1)
        return rule

    async def jobs(self) -> list[Document]:
        """The batch/v1 Jobs of guests."""
        code, found = await self.kubelet.ask("GET", f"{_BATCH}/{self.world.guests}/jobs")
        assert code == 200, found
        items: list[Document] = found["items"]
        return items

    async def patch_job(self, name: str, body: object) -> None:
        """Change a Job by hand."""
        code, answer = await self.kubelet.ask("PATCH", f"{_BATCH}/{self.world.guests}/jobs/{name}", body)
        assert code == 200, answer

    async def delete_job(self, name: str) -> None:
        """Delete a Job by hand, and its pods behind it."""
        options = {"propagationPolicy": "Background"}
        code, answer = await self.kubelet.ask("DELETE", f"{_BATCH}/{self.world.guests}/jobs/{name}", options)
        assert code == 200, answer

    async def until_no_jobs(self, seconds: float = 60.0) -> None:
        """Wait until all Jobs and pods of guests are gone."""
        async with asyncio.timeout(seconds):
            while await self.jobs() or await self.kubelet.pods():  # noqa: ASYNC110 - the API server is asked
                await asyncio.sleep(0.1)

    async def until_second_pod_is_refused(self) -> None:
        """Have a second pod made for the one Job there is, and wait until the door has turned it away for good."""
        # Which would let go of it, or remove it, before it has knocked.
        self._plane.pause_controllers()
        try:
            await self._second_pod()
        finally:
            self._plane.resume_controllers()

    async def _second_pod(self) -> None:
        (pod,) = await self.kubelet.pods()
        of_the_server = ("nodeName", "priority", "preemptionPolicy")
        spec = {name: value for name, value in pod["spec"].items() if name not in of_the_server}
        owners, labels = pod["metadata"]["ownerReferences"], pod["metadata"]["labels"]
        second = {"metadata": {"name": "second", "ownerReferences": owners, "labels": labels}, "spec": spec}
        code, answer = await self.kubelet.ask("POST", f"/api/v1/namespaces/{self.world.guests}/pods", second)
        assert code == 201, answer
        said = self.kubelet.output
        try:
            async with asyncio.timeout(120):
                while "bound to another pod" not in said.get("second", ""):  # noqa: ASYNC110 - it is being read
                    await asyncio.sleep(0.05)
                # Else the Job controller would find two pods of a Job of one, and remove either.
                await self.kubelet.ask("DELETE", f"/api/v1/namespaces/{self.world.guests}/pods/second")
                while "second" in [each["metadata"]["name"] for each in await self.kubelet.pods()]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"the pods have said: {said}") from None

    def pod(self, name: str = "job-0") -> Document:
        """The pod that the job's status names."""
        found: Document = self.world.status(name).get("run", {}).get("pod") or {}
        return found

    async def until_bound(self, name: str = "job-0", attempt: int = 1) -> Document:
        """Wait until this attempt of the job has its pod."""

        def bound() -> bool:
            return bool(self.pod(name)) and self.world.status(name)["run"]["attempt"] == attempt

        await self.world.until(bound, f"{name} is bound to a pod")
        return self.pod(name)


@asynccontextmanager
async def open_pods(plane: ControlPlane, made_for: str, module_cache: Path) -> AsyncIterator[Pods]:
    """A world of pods in two namespaces of its own; no operator runs yet. If a test fails, its pods speak."""
    connection = plane.connection
    namespace, guests = (namespaces.create(connection, made_for) for _ in range(2))
    for path in ("namespace", "service-account", "role", "secret"):
        for document in yaml.safe_load_all((_COMPONENT / f"{path}.yaml").read_text(encoding="utf-8")):
            _create(connection, document, namespace, guests)
    try:
        async with AdminClient(connection, namespace) as cluster, SessionService() as service:
            world = PodWorld(cluster, service, module_cache, guests)
            async with watched(world), PodKubelet(connection, guests) as kubelet:
                await leases.grant(cluster)
                try:
                    yield Pods(world, kubelet, plane)
                except BaseException:
                    for name, output in kubelet.output.items():
                        print(f"pod {name}:\n{output}")
                    raise
    finally:
        for each in (namespace, guests):
            with suppress(Exception):
                namespaces.delete(connection, each)


def _create(connection: Connection, document: Document, namespace: str, guests: str) -> None:
    """An object of the component, in the namespaces of this test; the operator's account is the shipped one."""
    kind, metadata = document["kind"], document["metadata"]
    if kind == "Namespace":
        status, answer = connection.request(
            "PATCH", f"/api/v1/namespaces/{guests}", {"metadata": {"labels": metadata["labels"]}}
        )
        assert status == 200, answer
        return
    where = {"curation-guests": guests, "curation-system": namespace}.get(metadata.get("namespace", ""))
    if where is not None:
        metadata["namespace"] = where
    group = document["apiVersion"]
    root = f"/apis/{group}" if "/" in group else f"/api/{group}"
    place = f"{root}/namespaces/{where}" if where is not None else root
    status, answer = connection.request("POST", f"{place}/{kind.lower()}s", document)
    assert status in (201, 409), answer
