"""Guests in pods, of one process: their parts put together, given to the executor, and ended."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from curation.api.job import RunPod
from curation.cluster.answers import APIError, Unreachable
from curation.cluster.connection import Connection
from curation.cluster.resources import JOBS, PODS
from curation.isolation.nursery import Nursery
from curation.lifecycle.outcome import RunKey
from curation.pods.door_host import Door
from curation.pods.manifest import PodSettings
from curation.pods.seam import Admitted, Doorkeeper, Knock, Turned
from curation.reconciler.jobs.binding import ask_binding
from curation.reconciler.jobs.memory import Memories
from curation.reconciler.pods.doorkeeper import PodDoorkeeper
from curation.reconciler.pods.keeper import PodKeeper
from curation.reconciler.pods.making import JobMaker
from curation.reconciler.pods.seen import SeenPod
from curation.reconciler.pods.watch import GuestWatch
from curation.reconciler.process.door_keeping import DoorKeeping
from curation.reconciler.runtime.context import Context
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.listening import listen
from curation.reconciler.runtime.metrics import Metrics
from curation.reconciler.runtime.settings import GuestSettings, LeaseSettings
from curation.workers.executor import WorkersExecutor

log = logging.getLogger(__name__)

_OPERATOR: Final = "operator"
"""The container whose image a guest's is, unless another one is named."""
_IMAGE_SECONDS: Final = 5.0
"""Between two tries to read the operator's own pod."""


class GuestsInPods:
    """For the event loop of the process. `attach` it, `start` it, `begin` when this process leads; close it."""

    def __init__(
        self,
        context: Context,
        connection: Connection,
        settings: GuestSettings,
        lease: LeaseSettings,
        leading: Callable[[], bool],
    ) -> None:
        self._context = context
        self._settings = settings
        self._lease = lease
        self._image = settings.image or ""
        self._image_problem = "The image of guest pods is not known yet."
        self._memories: Memories | None = None
        self._door: Door | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._keeping = DoorKeeping(context, lease.namespace, settings.address[0], leading, self._certificate_changed)
        self._watch = GuestWatch(connection, settings.namespace, lease.namespace)
        # Trap: a process that was frozen for long may come to a try again before it hears that another one leads, whose
        # Job, with another image, it would remove as none of its own.
        maker = JobMaker(
            context.api,
            lambda: self._pod_settings() if leading() else "this process does not lead any more",
            settings.namespace,
        )
        self.keeper = PodKeeper(context.caches[JOBS], self._watch, maker, self._wake_waiting)
        self._doorkeeper = PodDoorkeeper(context.api, self.keeper, maker, self._bind, settings.namespace, leading)
        context.pods_problem = self.problem

    def attach(self, executor: WorkersExecutor, memories: Memories) -> None:
        """These are the executions and the jobs that it is about."""
        self._memories = memories
        self.keeper.tell_wait = executor.waits
        metrics = self._context.metrics
        metrics.guest_jobs.set_function(lambda: len(self.keeper))
        metrics.guest_pods_ready.set_function(lambda: float(self._ready()))

        def lose(execution: str, cause: str, pod: SeenPod | None) -> None:
            metrics.guest_pods_lost.labels(reason=pod.loss if pod is not None else "Other").inc()
            executor.lose(execution, cause, over_limit=pod is not None and pod.over_memory)

        self.keeper.lose = lose

    def start(self, nursery: Nursery, executor: WorkersExecutor) -> None:
        """Serve the door, on every replica. Raises OSError if its port cannot be had."""
        sockets = listen(*self._settings.bind)
        self._door = Door(
            nursery,
            sockets,
            _Counting(self._doorkeeper, self._context.metrics),
            lambda: self._keeping.certificate,
            executor.join,
        )
        self._door.start()
        self._spawn(self._keeping.run(), "door's certificate")
        if not self._image:
            self._spawn(self._read_image(), "image of guest pods")

    def begin(self) -> None:
        """This process leads."""
        self.keeper.begin()

    async def stop_keeping(self) -> None:
        """Make and remove no Job any more: the next one that leads goes on."""
        await self.keeper.close()

    async def close(self) -> None:
        """End the door."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._door is not None:
            await self._door.close()

    def problem(self) -> str:
        """Why no run can have a pod now, and what helps; empty if it can."""
        settings = self._pod_settings()
        return settings if isinstance(settings, str) else self._watch.problem

    def _ready(self) -> bool:
        return not self.problem() and self._door is not None and self._door.serving

    def _pod_settings(self) -> PodSettings | str:
        if not self._image:
            return self._image_problem
        if problem := self._keeping.problem:
            return problem
        host, port = self._settings.address
        return PodSettings(
            namespace=self._settings.namespace,
            image=self._image,
            instance=self._lease.namespace,
            door=f"{host}:{port}",
            server_name=host,
            authority=self._keeping.authority.decode(),
        )

    async def _bind(self, key: Key, run: RunKey, pod: RunPod) -> str:
        assert self._memories is not None
        return await ask_binding(self._context, self._memories, key, run, pod)

    def _certificate_changed(self) -> None:
        if self._door is not None:
            self._door.renew()
        self._wake_waiting()

    def _wake_waiting(self) -> None:
        """Have all jobs worked on that ask for a pod: what kept them may be over."""
        for stored in self._context.caches[JOBS]:
            if b'"Job"' in stored.body:
                self._context.wake(Key(JOBS, stored.namespace, stored.name))

    async def _read_image(self) -> None:
        """Of the operator's own pod, once."""
        namespace, name = self._lease.namespace, self._context.settings.identity
        said = ""
        while not self._image:
            try:
                found = await self._context.api.get(PODS, namespace, name)
                self._image = _image_of(found) if found is not None else ""
                problem = "it is not there" if found is None else "it has no image"
            except (APIError, Unreachable) as error:
                problem = str(error)
            if self._image:
                log.info("guest pods run the image %s", self._image)
                self._wake_waiting()
                return
            if problem != said:
                self._image_problem = (
                    f"The image of guest pods is not known: the operator's own pod {namespace}/{name} cannot be read "
                    f"({problem}). Start the operator with --guest-image."
                )
                log.error("%s", self._image_problem)
                said = problem
            await asyncio.sleep(_IMAGE_SECONDS)

    def _spawn(self, work: Any, name: str) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))


class _Counting:
    """A doorkeeper whose judgements are counted."""

    def __init__(self, doorkeeper: Doorkeeper, metrics: Metrics) -> None:
        self._doorkeeper = doorkeeper
        self._metrics = metrics

    async def judge(self, knock: Knock) -> Admitted | Turned:
        """See the seam."""
        found = await self._doorkeeper.judge(knock)
        verdict = "admitted" if isinstance(found, Admitted) else "refused" if found.final else "later"
        self._metrics.door_knocks.labels(verdict=verdict).inc()
        return found


def _image_of(pod: Any) -> str:
    containers = (pod.get("spec") or {}).get("containers") or []
    named = [each for each in containers if each.get("name") == _OPERATOR] or containers
    return str(named[0].get("image") or "") if named else ""
