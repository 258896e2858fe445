"""The client. It blocks; the connection lives on an event loop in a thread of its own, so any thread may call.

A job is followed by asking again and again, as `kubectl curation watch` does: a wait is over at most a second late, and
nothing has to be kept alive.
"""

import asyncio
import threading
import warnings
from collections.abc import Coroutine, Iterator
from concurrent.futures import CancelledError
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from curation.api.approval import ApprovalDecision, CurationApproval, Scope
from curation.api.decision import Decision, Obstacle, Undecidable, decided_fields
from curation.api.job import CurationJob, JobSpec
from curation.api.names import API_VERSION, Phase
from curation.api.reading import Unreadable, read
from curation.api.schema import ResourceModel
from curation.client.errors import (
    CurationError,
    JobFailed,
    JobGone,
    NotFinished,
    NotFound,
    Refused,
    Unavailable,
    error_of,
)
from curation.cluster.answers import Document, Failure, Unreachable
from curation.cluster.connection import JSON, Connection, connect
from curation.cluster.kubeconfig import Overrides
from curation.cluster.kubeconfig_entries import ConfigurationError
from curation.cluster.personal import personal_environ
from curation.cluster.resources import APPROVALS, JOBS, ResourceKind
from curation.cluster.writer import MERGE_PATCH

FIELD_MANAGER: Final = "curation-client"
POLL_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 60.0
"""How long the API server may be away before a wait gives up."""
TRIES: Final = 8
"""Of a write that others come before: the operator writes a status a few times a second at most."""
_OBSTACLES: Final = {
    Obstacle.GRANTS_NOTHING: "is Pending and grants nothing: deny it",
    Obstacle.IS_GRANTED: "is Approved already, {}: revoke it, which ends the grant",
    Obstacle.HAS_EXPIRED: "was Approved and has expired: delete it to let jobs ask anew",
    Obstacle.OTHERWISE: "is Approved already, {}: revoke it to decide anew",
    Obstacle.FINAL: "was {}, which is final: delete it to let jobs ask anew",
}
_REVIEW: Final[Document] = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
_SELF: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"

M = TypeVar("M", bound=ResourceModel)
R = TypeVar("R")


class Client:
    """Jobs and approvals of one namespace. Close it at the end, or use it in a `with` block.

    The cluster is that of the kubeconfig (`kubeconfig`, else KUBECONFIG, else ~/.kube/config), or in a pod that of its
    service account. The namespace is that of the context, or of the pod, unless one is given. `request_timeout` is in
    seconds, for one request. Raises `CurationError` where there is no way to a cluster.
    """

    def __init__(
        self,
        namespace: str | None = None,
        *,
        context: str | None = None,
        kubeconfig: str | None = None,
        request_timeout: float = 10.0,
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="curation client", daemon=True)
        self._thread.start()
        self._closed = threading.Event()
        overrides = Overrides(context=context) if context else None
        try:
            self._connection: Connection = self._run(
                connect(
                    request_timeout=request_timeout,
                    parallel_calls=8,
                    environ=personal_environ(kubeconfig),
                    overrides=overrides,
                )
            )
        except ConfigurationError as error:
            self._stop()
            raise CurationError(str(error)) from None
        except BaseException:
            self._stop()
            raise
        self.namespace: str = namespace or self._connection.default_namespace or "default"

    def close(self) -> None:
        """End the connection. A call that is under way in another thread ends with `Unavailable`."""
        if self._closed.is_set():
            return
        self._run(self._connection.close())
        self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- jobs --------------------------------------------------------------------------------------------------------

    def create(
        self,
        name: str,
        spec: JobSpec,
        *,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
    ) -> CurationJob:
        """Make a job; only the fields that `spec` was given are sent.

        Raises `AlreadyExists`, `Refused` (with the API server's words), `Denied` and `Unavailable`.
        """
        metadata = {"name": name, "namespace": self.namespace, "labels": labels or {}, "annotations": annotations or {}}
        sent = spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        body = {"apiVersion": API_VERSION, "kind": JOBS.kind, "metadata": metadata, "spec": sent}
        return _read(CurationJob, self._send("POST", JOBS, None, body=body, doing=f"create {self._named(JOBS, name)}"))

    def get(self, job: CurationJob | str) -> CurationJob:
        """The job as it is now. Raises `NotFound`."""
        name = _name(job)
        return _read(CurationJob, self._send("GET", JOBS, name, doing=f"get {self._named(JOBS, name)}"))

    def stream(self, job: CurationJob | str, *, timeout: float | None = None) -> Iterator[CurationJob]:
        """The job whenever it is seen changed, up to its end, which comes last.

        A version that lasts for less than a second may not be seen. `timeout` is in seconds. Raises `NotFinished`,
        `JobGone`, and `Unavailable` once the API server is away for a minute.
        """
        uid, generation = (job.metadata.uid, job.metadata.generation) if isinstance(job, CurationJob) else ("", 0)
        version, answered, until = "", self._loop.time(), None if timeout is None else self._loop.time() + timeout
        seen: CurationJob | None = job if isinstance(job, CurationJob) else None
        while True:
            began = self._loop.time()
            try:
                found = self.get(job)
            except NotFound:
                if seen is None:
                    raise
                raise JobGone(f"{self._named(JOBS, _name(job))} was deleted") from None
            except Unavailable:
                if self._loop.time() - answered > PATIENCE_SECONDS:
                    raise
            else:
                answered = self._loop.time()
                if found.metadata.uid != (uid := uid or found.metadata.uid):
                    raise JobGone(f"{self._named(JOBS, _name(job))} was deleted, and another one made under its name")
                seen = found
                finished = _has_finished(found, generation)
                if found.metadata.resource_version != version:
                    version = found.metadata.resource_version
                    yield found
                if finished:
                    return
            now = self._loop.time()
            if until is not None and now >= until and seen is not None:
                phase = f"{seen.status.phase or 'new'} ({seen.status.reason})"
                raise NotFinished(f"{self._named(JOBS, _name(job))} is {phase} after {timeout:g} s", seen)
            rest = max(POLL_SECONDS, 9 * (now - began))
            self._run(asyncio.sleep(rest if until is None else min(rest, max(until - now, 0.0))))

    def wait(
        self, job: CurationJob | str, *, timeout: float | None = None, until: Phase = Phase.COMPLETED
    ) -> CurationJob:
        """Wait until the job is in the phase `until`, or Completed; the job then. `timeout` is in seconds.

        Raises `JobFailed` when it has failed, and what `stream` raises. A job that awaits an approval is waited for.
        """
        generation = job.metadata.generation if isinstance(job, CurationJob) else 0
        last: CurationJob | None = None
        for last in self.stream(job, timeout=timeout):
            current = last.status.observed_generation >= max(generation, last.metadata.generation)
            if current and last.status.phase is until:
                return last
        assert last is not None
        if last.status.phase is Phase.FAILED:
            raise JobFailed(last)
        return last

    def rerun(self, job: CurationJob | str) -> CurationJob:
        """Start a new run: a new value of spec.rerun, which the next apply of a manifest may take back."""
        return self._change(CurationJob, JOBS, _name(job), lambda _: {"rerun": f"{self._now():%Y-%m-%dT%H:%M:%S.%fZ}"})

    def suspend(self, job: CurationJob | str) -> CurationJob:
        """Hold the job: a run in flight is abandoned, and its session cancelled."""
        return self._change(CurationJob, JOBS, _name(job), lambda _: {"suspend": True})

    def resume(self, job: CurationJob | str) -> CurationJob:
        """Let a suspended job go on."""
        return self._change(CurationJob, JOBS, _name(job), lambda _: {"suspend": False})

    def delete(self, job: CurationJob | str) -> None:
        """Delete the job; the operator cancels its session first. Given a job, exactly that one. Raises `NotFound`."""
        preconditions = {"preconditions": {"uid": job.metadata.uid}} if isinstance(job, CurationJob) else {}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **preconditions}
        self._send("DELETE", JOBS, _name(job), body=body, doing=f"delete {self._named(JOBS, _name(job))}")

    # -- approvals ---------------------------------------------------------------------------------------------------

    def approvals(self, decision: ApprovalDecision | None = None) -> list[CurationApproval]:
        """The approvals of the namespace, all or those with this decision. One that cannot be read is a warning."""
        query = {"fieldSelector": f"spec.decision={decision}"} if decision is not None else {}
        found = self._send("GET", APPROVALS, None, query=query, doing=f"list approvals in namespace {self.namespace}")
        readable = []
        for document in found.get("items") or []:
            try:
                readable.append(_read(CurationApproval, document))
            except CurationError as error:
                warnings.warn(str(error), stacklevel=2)
        return readable

    def approve(
        self,
        approval: CurationApproval | str,
        *,
        scope: Scope = Scope.REQUEST,
        expires: timedelta | datetime | None = None,
        never_expires: bool = False,
        comment: str | None = None,
    ) -> CurationApproval:
        """Allow what the approval asks for; all jobs that wait for it go on.

        `expires` ends the grant; without it the operator does, by its --approval-ttl, unless it `never_expires`. The
        `comment` is kept with the decision. Given an approval, exactly that request is decided: one that was made anew
        meanwhile has the same. Raises `Denied` without the verb approve, `Refused` where the decision is final already,
        or is another one.
        """
        end = self._now() + expires if isinstance(expires, timedelta) else expires
        return self._decide(approval, Decision(ApprovalDecision.APPROVED, scope, end, never_expires, comment))

    def deny(self, approval: CurationApproval | str, *, comment: str | None = None) -> CurationApproval:
        """Fail all jobs that wait for it."""
        return self._decide(approval, Decision(ApprovalDecision.DENIED, comment=comment))

    def revoke(self, approval: CurationApproval | str, *, comment: str | None = None) -> CurationApproval:
        """End a grant."""
        return self._decide(approval, Decision(ApprovalDecision.REVOKED, comment=comment))

    def _decide(self, approval: CurationApproval | str, decision: Decision) -> CurationApproval:
        who = self._whoami()

        def decided(seen: Document) -> Document | None:
            current = _read(CurationApproval, seen)
            try:
                fields = decided_fields(current, decision, self._now())
            except Undecidable as error:
                named = self._named(APPROVALS, current.metadata.name)
                raise Refused(f"{named} {_OBSTACLES[error.obstacle].format(_said(current))}") from None
            return fields if fields is None or not who else {**fields, "decidedBy": who}

        return self._change(CurationApproval, APPROVALS, _name(approval), decided)

    def _whoami(self) -> str:
        """The name of the caller. Where no admission policy records it, the decision does; where one checks it, so."""
        try:
            answer = self._run(self._connection.send("POST", _SELF, body=_REVIEW))
        except Unreachable as error:
            raise Unavailable(f"cannot ask who you are: {error}") from None
        return "" if isinstance(answer, Failure) else str(answer["status"]["userInfo"].get("username", ""))

    # -- requests ----------------------------------------------------------------------------------------------------

    def _change(self, model: type[M], kind: ResourceKind, name: str, wanted: Any) -> M:
        """Merge into the spec what `wanted` makes of the object; None of it: it is so already."""
        doing = f"change {self._named(kind, name)}"
        for left in reversed(range(TRIES)):
            seen = self._send("GET", kind, name, doing=f"get {self._named(kind, name)}")
            spec = wanted(seen)
            if spec is None:
                return _read(model, seen)
            version = {"resourceVersion": seen["metadata"]["resourceVersion"], "uid": seen["metadata"]["uid"]}
            answer = self._ask(
                "PATCH", kind, name, body={"metadata": version, "spec": spec}, content_type=MERGE_PATCH, doing=doing
            )
            if not isinstance(answer, Failure):
                return _read(model, answer)
            if answer.code != 409 or not left:
                raise error_of(answer, doing)
        raise AssertionError

    def _send(self, method: str, kind: ResourceKind, name: str | None, *, doing: str, **fields: Any) -> Document:
        answer = self._ask(method, kind, name, doing=doing, **fields)
        if isinstance(answer, Failure):
            raise error_of(answer, doing)
        return answer

    def _ask(
        self,
        method: str,
        kind: ResourceKind,
        name: str | None,
        *,
        doing: str,
        query: dict[str, str] | None = None,
        body: Document | None = None,
        content_type: str = JSON,
    ) -> Document | Failure:
        if method in ("POST", "PATCH"):
            query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", **(query or {})}
        path = kind.path(self.namespace, name)
        try:
            return self._run(self._connection.send(method, path, query=query, body=body, content_type=content_type))
        except Unreachable as error:
            raise Unavailable(f"cannot {doing}: {error}") from None

    def _named(self, kind: ResourceKind, name: str) -> str:
        return f"{kind.kind} {self.namespace}/{name}"

    def _now(self) -> datetime:
        return self._connection.clock.now()

    def _run(self, work: Coroutine[Any, Any, R]) -> R:
        if self._closed.is_set():
            work.close()
            raise CurationError("the client was closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise CurationError("the client was closed") from None
        except BaseException:
            future.cancel()  # Ctrl-C ends the call, too
            raise

    def _stop(self) -> None:
        self._closed.set()
        asyncio.run_coroutine_threadsafe(_end_tasks(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _has_finished(job: CurationJob, generation: int) -> bool:
    # A status of an older generation shows the end of another run.
    status = job.status
    seen = status.observed_generation >= max(generation, job.metadata.generation)
    return status.phase is not None and status.phase.terminal and seen


def _said(approval: CurationApproval) -> str:
    spec = approval.spec
    if spec.decision is not ApprovalDecision.APPROVED:
        return str(spec.decision)
    ends = f"{spec.expires_at:%Y-%m-%dT%H:%M:%SZ}" if spec.expires_at is not None else "never"
    return f"with scope {spec.scope}, expiresAt {ends}"


def _name(given: ResourceModel | str) -> str:
    return given if isinstance(given, str) else given.metadata.name


def _read(model: type[M], document: Document) -> M:
    try:
        return read(model, document)
    except Unreadable as error:
        name = document.get("metadata", {}).get("name", "")
        raise CurationError(f"{model.__name__} {name} cannot be read by this release of the client: {error}") from None
