"""One test's world: a namespace, a session service, operators, and the history of all that happens to its objects."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from testing.admin_client import AdminClient, Document
from testing.controlplane.connection import Connection
from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from testing.operator_process import PROGRAM, OperatorProcess
from testing.sessions import SessionService
from testing.sessions.changes import Changes
from tests.harness import manifests, verdict
from tests.harness.history import History
from tests.harness.lender import Lender
from tests.harness.log_check import unlabelled

SECONDS = float(os.environ.get("CURATION_TEST_SECONDS", "180"))
"""How long a test waits for what takes well under a second, with fifty jobs a few, on an idle machine."""

JOBS = "curationjobs"
_OTHERS = ("curationmodules", "curationpolicies", "curationapprovals")


class World:
    """See `world`; made by `open_world`."""

    def __init__(
        self, cluster: AdminClient, service: SessionService, module_cache: Path, lender: Lender | None = None
    ) -> None:
        self.cluster = cluster
        self._lender = lender
        self.service = service
        self.namespace = cluster.namespace
        self._changes = Changes()
        self._module_cache = module_cache
        self.jobs = History(cluster, JOBS, self._changes.notify)
        self.events = History(cluster, "events", self._changes.notify)
        self.others = {plural: History(cluster, plural, self._changes.notify) for plural in _OTHERS}
        """Of the modules, policies and approvals, by plural."""
        self.operators: list[OperatorProcess] = []
        # kopf leaves the generator of a watch to the garbage collector when it is stopped.
        self.tolerated: list[str] = ["async_generator object infinite_watch"]
        """Texts of log lines with a traceback that a test expects."""

    # -- operators ---------------------------------------------------------------------------------------------------

    def operator_environment(self, **more: str) -> dict[str, str]:
        """The environment of a program that is the operator's service account."""
        own = self.cluster.connection.environment(OPERATOR_USER, OPERATOR_GROUPS)
        return {**{name: value for name, value in own.items() if not name.startswith("CURATION_")}, **more}

    def operator(
        self,
        *options: str,
        kubeconfig: Path | None = None,
        environment: Mapping[str, str] | None = None,
        lease: bool = False,
        command: Sequence[str] = (str(PROGRAM),),
    ) -> OperatorProcess:
        """An operator for this namespace, not started yet. A `kubeconfig` is that of a proxy.

        With `lease` it elects a leader in this namespace, where `leases.grant` lets it. Another `command` is one
        that ends as the operator.
        """
        # Trap: the lent operator serves this namespace too, and would do what this one is to do.
        assert self._lender is None, "a test that starts or kills operators itself is marked own_operator"
        full = self.operator_environment(**(environment or {}))
        if kubeconfig is not None:
            full["KUBECONFIG"] = str(kubeconfig)
        electing = ("--lease-namespace", self.namespace) if lease else ("--no-lease",)
        made = self._make(self.namespace, options=(*electing, *options), environment=full, command=command)
        self.operators.append(made)
        return made

    def _make(
        self,
        *namespaces: str,
        options: Sequence[str] = ("--no-lease",),
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = (str(PROGRAM),),
    ) -> OperatorProcess:
        arguments = (
            *(word for namespace in namespaces for word in ("-n", namespace)),
            *("--allow-cidr", "127.0.0.0/8", "--http-bind", "127.0.0.1:0"),
            *("--log-format", "json", "--module-cache", str(self._module_cache), *options),
        )
        return OperatorProcess(environment or self.operator_environment(), arguments, self._changes.notify, command)

    async def start_operator(
        self, *options: str, kubeconfig: Path | None = None, lease: bool = False
    ) -> OperatorProcess:
        """An operator that is ready. A test that kills it, or starts another, is marked `own_operator`."""
        if self._lender is not None and not (lease or self.operators or options or kubeconfig):
            lent = await self._lender.lend(self._make, self._changes.notify)
            self.operators.append(lent)
            return lent
        operator = self.operator(*options, kubeconfig=kubeconfig, lease=lease)
        await operator.start()
        return operator

    # -- objects -----------------------------------------------------------------------------------------------------

    async def prepare(self, *, wall_seconds: int = manifests.WALL_SECONDS) -> None:
        """The shipped module, and a policy that lets it reach the session service."""
        await self.cluster.create(manifests.module(wall_seconds=wall_seconds))
        await self.cluster.create(manifests.policy())

    async def create_jobs(self, count: int = 1, **spec: Any) -> list[str]:
        """So many jobs, made at once; their names."""
        names = [f"job-{number}" for number in range(count)]
        await asyncio.gather(*(self.create_job(name, **spec) for name in names))
        return names

    async def create_job(self, name: str = "job-0", **spec: Any) -> Document:
        """A job of the shipped module."""
        return await self.cluster.create(manifests.job(name, self.service.url, **spec))

    async def edit(self, *names: str, **spec: Any) -> list[Document]:
        """Merge into the spec of these jobs, at once."""
        return list(
            await asyncio.gather(*(self.cluster.patch(JOBS, name, {"spec": spec}) for name in names)),
        )

    def job(self, name: str = "job-0") -> Document:
        """The job in the newest version that was seen."""
        return self.jobs.present[name]

    def status(self, name: str = "job-0") -> Document:
        """The status of the job in the newest version that was seen; empty if there is none."""
        return self.jobs.present.get(name, {}).get("status") or {}

    def run_id(self, name: str = "job-0", *, generation: int, attempt: int = 1) -> str:
        """The id of one of the job's runs."""
        return f"{self.job(name)['metadata']['uid']}.g{generation}.a{attempt}"

    def event_count(self, reason: str, *, name: str | None = None, note: str = "") -> int:
        """How often an Event of this reason happened, of one job or of all: a series counts as often as it says."""
        return sum(
            (event.get("series") or {}).get("count", 1)
            for event in self.events.present.values()
            if event["reason"] == reason
            and note in event.get("note", "")
            and (name is None or event["regarding"]["name"] == name)
        )

    # -- waiting -----------------------------------------------------------------------------------------------------

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
        """Wait until the condition, checked after each change of a job, an Event, the service and a log, holds."""
        try:
            await self._changes.until(condition, seconds, what)
        except TimeoutError:
            self.jobs.check_complete()
            self.events.check_complete()
            raise AssertionError(f"waited {seconds:g} s in vain until {what}\n{self.picture()}") from None

    async def until_phase(self, phase: str, *names: str, seconds: float = SECONDS, **fields: object) -> None:
        """Wait until all these jobs (job-0 if none is named) are in a phase, with these fields of the status."""
        wanted = names or ("job-0",)

        def reached() -> bool:
            return all(
                self.status(name).get("phase") == phase
                and all(self.status(name).get(field) == value for field, value in fields.items())
                for name in wanted
            )

        await self.until(reached, f"{len(wanted)} jobs are {phase} {fields or ''}", seconds)

    async def until_policy_counts(self, name: str = "allow") -> None:
        """Wait until the operator has said what it makes of the newest revision of a policy.

        The status of another, later policy would prove nothing: each object's events have a worker of their own. Nor
        does a job that is touched after it: policies and jobs have a watch each.
        """
        policies = self.others["curationpolicies"].present
        generation = (await self.cluster.get("curationpolicies", name))["metadata"]["generation"]

        def said() -> bool:
            return bool(policies.get(name, {}).get("status", {}).get("observedGeneration", -1) >= generation)

        await self.until(said, f"policy {name} counts")

    async def until_gone(self, *names: str, seconds: float = SECONDS) -> None:
        """Wait until these jobs are gone."""
        await self.until(
            lambda: not any(name in self.jobs.present for name in names), f"{', '.join(names)} are gone", seconds
        )

    async def settled(self, seconds: float = SECONDS) -> None:
        """Wait until the operator is done with every job, and the witness's verdict is good."""
        await self.until(lambda: not self.problems(), "all jobs are settled and own their sessions", seconds)

    def notify(self) -> None:
        """Let those who wait check again."""
        self._changes.notify()

    def problems(self) -> list[str]:
        """What is not settled, or wrong."""
        jobs = list(self.jobs.present.values())
        return [*verdict.unsettled(jobs), *verdict.wrong_sessions(jobs, self.service)]

    def picture(self) -> str:
        """The present state, for a person who reads a failed test."""
        jobs = [
            f"  {name}: {job.get('status', {}).get('phase')} {job.get('status', {}).get('reason')} "
            f"run {job.get('status', {}).get('run', {}).get('id')} {job.get('status', {}).get('message')}"
            for name, job in sorted(self.jobs.present.items())
        ]
        calls = [
            f"  {entry.caller.trigger} {entry.caller.run_id} {entry.method} {entry.path} -> {entry.status}"
            for entry in self.service.log()
        ]
        logs = [f"operator {number}:\n{operator.text(30)}" for number, operator in enumerate(self.operators)]
        return "\n".join(["problems:", *self.problems(), "jobs:", *jobs[:20], "calls:", *calls[-40:], *logs])

    # -- the end -----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """What must hold at the end of every test: the invariants of each history; in no log a traceback, or a line
        about a run without its fields."""
        self.jobs.check()
        for others in self.others.values():
            others.check_statuses()
        for operator in self.operators:
            assert not (lines := unlabelled(operator.log)), "lines about a run lack its fields:\n" + "\n".join(lines)
            for line in operator.log:
                text = f"{line.get('message', '')}\n{line.get('exc_info', '')}"
                if "Traceback" in text and not any(known in text for known in self.tolerated):
                    raise AssertionError(f"an operator logged a traceback: {text}")

    async def follow_service(self) -> None:
        """Wake those who wait whenever the session service has changed."""

        def changed() -> bool:
            self._changes.notify()
            return False

        await self.service.wait_until(changed, seconds=3600)

    async def stop_operators(self) -> None:
        """Stop in good order what still runs; raises AssertionError if one does not end with 0."""
        await asyncio.gather(*(operator.stop() for operator in self._own_operators()))

    async def kill_operators(self) -> None:
        """End what still runs, whatever its state."""
        for operator in self._own_operators():
            await operator.kill()

    def _own_operators(self) -> list[OperatorProcess]:
        return [operator for operator in self.operators if operator.running and not operator.lent]


@asynccontextmanager
async def open_world(
    connection: Connection, namespace: str, module_cache: Path, lender: Lender | None = None
) -> AsyncIterator[World]:
    """A world in a namespace; see `watched`."""
    async with AdminClient(connection, namespace) as cluster, SessionService() as service:
        world = World(cluster, service, module_cache, lender)
        async with watched(world):
            yield world


@asynccontextmanager
async def watched(world: World) -> AsyncIterator[None]:
    """A world's histories are written. At the end no operator of its own runs, and the histories are checked."""
    async with AsyncExitStack() as stack:
        for history in (world.jobs, world.events, *world.others.values()):
            await stack.enter_async_context(history)
        follower = asyncio.create_task(world.follow_service(), name="follow the session service")
        try:
            yield
            await world.stop_operators()
            world.check()
        finally:
            await world.kill_operators()
            follower.cancel()
            with suppress(asyncio.CancelledError):
                await follower
