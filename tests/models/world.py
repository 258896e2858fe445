"""The world of one job: an API server, a session service, operator processes, a clock, and what may happen to them.

Its invariants are docs/fence.md, I1 to I5, I8 and I10; I1, I2, I3, I10 by `tests.oracles`, the others by `Invariants`
and, at rest, by `drain`.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from curation.api.job import CurationJob, Run
from curation.lifecycle.decide import runs_to_clean
from curation.lifecycle.outcome import Report
from tests.models.apiserver import ApiServer, Reply
from tests.models.documents import NAME, WALL, Document, Request, parse, with_defaults
from tests.models.executions import Behaviour
from tests.models.invariants import Invariants, Violation
from tests.models.process import Process
from tests.models.sessions import SessionService, State
from tests.oracles.history import check_history

START = datetime(2030, 1, 1, tzinfo=UTC)
Fault = Literal["lost answer", "lost request", "refused"]
ROUNDS = 150


@dataclass
class World:
    """Everything, and what may happen to it."""

    service: SessionService = field(default_factory=SessionService)
    now: datetime = START
    allowed: bool = True
    """Whether the policies allow what the module asks for."""
    refused: bool = False
    """Whether a person has denied the approval."""
    contents: int | None = 1
    """How often the ConfigMap that jobs made by `create_referring` name was written; None while it is missing."""
    referring: bool = False
    """Whether the jobs name a ConfigMap."""
    fault: Fault | None = None
    """What happens to the next write of an operator."""
    cancel_fails: bool = False
    """Whether the session service refuses the next Cancel."""
    behaviours: list[Behaviour] = field(default_factory=list)
    """How the next runs behave; after these, all spawn a session."""
    processes: list[Process] = field(default_factory=list)
    wire: list[Request] = field(default_factory=list)
    _started: int = 0

    def __post_init__(self) -> None:
        self.api = ApiServer(lambda: self.now.strftime("%Y-%m-%dT%H:%M:%SZ"), with_defaults)
        self.checker = Invariants(self.api)

    # -- what people and other programs do ---------------------------------------------------------------------------

    def create(self, work: str = "A", **spec: Any) -> None:
        """Make the job."""
        self.api.create(NAME, {"moduleRef": {"name": "module"}, **self._work(work), **spec})

    def edit(self, **spec: Any) -> None:
        """Change fields of the spec."""
        self.api.patch(NAME, {"spec": spec})

    def edit_template(self, work: str) -> None:
        """Change what is to be done."""
        self.edit(**self._work(work))

    def _work(self, work: str) -> Document:
        if not self.referring:
            return {"input": {"work": work}}
        return {"inputFrom": {"configMapKeyRef": {"name": "work", "key": work}}}

    def label(self) -> None:
        """Change what no decision is made from: it bumps the resourceVersion all the same."""
        self.api.patch(NAME, {"metadata": {"labels": {"seen": str(len(self.api.events))}}})

    def delete(self) -> None:
        """Ask for the deletion of the job."""
        self.api.delete(NAME)

    def strip_finalizers(self) -> None:
        """What people do to get rid of an object that will not go."""
        self.api.patch(NAME, {"metadata": {"finalizers": None}})

    def end_session(self, state: State) -> None:
        """The session that the status names ends by itself."""
        job = self.job()
        if job is not None and job.status.session is not None:
            self.service.end(job.status.session.id, state)

    def carry_out(self, request: Request | None = None) -> None:
        """The service does what a request on the wire asks for; whoever still waits for it has the answer.

        Without tombstones it is relied on to do so within the wall limit of the run (rule 8).
        """
        request = request or self.wire[0]
        self.wire.remove(request)
        if self.now > request.until and not self.service.tombstones:
            return
        if request.creates:
            request.session = self.service.create(request.run_id, request.key)
        request.carried_out = True

    def job(self) -> CurationJob | None:
        """The job as the API server has it."""
        obj = self.api.get(NAME).obj
        return None if obj is None else parse(obj)

    # -- processes ---------------------------------------------------------------------------------------------------

    def start(self, name: str = "operator") -> Process:
        """Start an operator process."""
        self._started += 1
        process = Process(self, f"{name}/{self._started}")
        self.processes.append(process)
        return process

    def pass_time(self, seconds: float) -> None:
        """The clock goes on."""
        self.now += timedelta(seconds=seconds)

    def crash(self, process: Process) -> None:
        """SIGKILL: what is on the wire may still be carried out, everything else is forgotten."""
        self.processes.remove(process)

    def write(
        self,
        known: Document | None,
        body: Document,
        subresource: Literal["status"] | None = None,
        *,
        report: Report | None = None,
    ) -> Reply | None:
        """A merge patch of a process that knew this version; None if no answer comes back.

        It is computed from the version that it is conditioned on, perhaps to write what a run came to.
        """
        fault, self.fault = self.fault, None
        if fault == "lost request":
            return None
        if fault == "refused":
            return Reply(403)
        stated = body.get("metadata", {}).get("resourceVersion")
        base = self.api.versions[int(stated)] if stated is not None else known
        before = self.api.get(NAME).obj
        reply = self.api.patch(NAME, body, subresource)
        if reply.code == 200:
            assert base is not None
            self.checker.write(base, before, report)
            self._note_claim(base, reply.written, before)
        return None if fault == "lost answer" else reply

    def _note_claim(self, base: Document, after: Document, before: Document | None) -> None:
        run = after.get("status", {}).get("run")
        if run is not None and run["id"] != base.get("status", {}).get("run", {}).get("id"):
            self.checker.claim(Run.model_validate(run), after, before)

    # -- the verdict -------------------------------------------------------------------------------------------------

    def versions(self) -> dict[str, list[Document]]:
        """The watch history of each uid."""
        found: dict[str, list[Document]] = {}
        for event in self.api.events:
            if event.type != "DELETED":
                found.setdefault(event.obj["metadata"]["uid"], []).append(event.obj)
        return found

    def check(self) -> None:
        """I1, I2, I3, I10: hold at any time."""
        for versions in self.versions().values():
            check_history(versions)

    def drain(self) -> None:
        """Let everything that is under way come to its end, without faults, until nothing happens any more."""
        self.fault, self.cancel_fails = None, False
        if not self.processes:
            self.start()
        for _ in range(ROUNDS):
            if self._everyone_works():
                continue
            if not self._time_helps():
                break
            self.now += WALL + timedelta(seconds=1)
        else:
            raise Violation("the job never comes to rest")
        self.check()
        self._check_rest()

    def _everyone_works(self) -> bool:
        worked = bool(self.wire)
        while self.wire:
            self.carry_out()
        for process in list(self.processes):
            worked = process.work() or worked
        return worked

    def _time_helps(self) -> bool:
        """Whether something is to come that only waits: a Cancel, a retry, or a run whose holder is gone."""
        if any(process.queue.failures for process in self.processes):
            return True
        job = self.job()
        if job is not None and runs_to_clean(job):
            return True
        if job is None or job.metadata.deletion_timestamp is not None or job.spec.suspend:
            return False
        status = job.status
        waits = status.phase == "AwaitingApproval" and self.allowed and status.retry_at is not None
        if status.reason == "WaitingForConfigMap" and self.contents is None:
            return False
        return waits or status.phase in (None, "Queued", "Submitted")

    def _check_rest(self) -> None:
        """I8: a Running job has exactly the session of its status, any other job none. Nothing is left to be done."""
        job = self.job()
        for uid in self.versions():
            live, own = self._kept(uid), set[str]()
            if job is not None and job.metadata.uid == uid and job.status.phase == "Running":
                session = job.status.session
                assert session is not None
                if self.service.states[session.id] is State.CANCELLED:
                    raise Violation(f"I8: the session of a Running job was killed: {session.id}")
                own = {session.id} if self.service.states[session.id] is State.LIVE else own
            if live != own:
                raise Violation(f"I8: {sorted(live)} live, but of {uid} should only {sorted(own)}")
        if job is not None and job.status.abandoned_runs:
            raise Violation(f"abandoned runs are never cleaned: {[entry.id for entry in job.status.abandoned_runs]}")
        if job is not None and job.metadata.deletion_timestamp is not None:
            raise Violation("a deleted job never goes")

    def _kept(self, uid: str) -> set[str]:
        """The live sessions of a job, but those of runs that could not be cleaned in time."""
        return {
            session for session in self.service.live(uid) if self.service.runs[session] not in self.checker.given_up
        }
