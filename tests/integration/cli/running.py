"""Runs kubectl-curation as a process, and makes the objects that it is asked about, with statuses as the operator's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from curation.api.approval import EvaluatedRequest, approval_name, request_digest
from testing.controlplane.connection import Connection

PLUGIN = (sys.executable, "-m", "curation.cli.plugin")
SECONDS = 60.0
"""Of one run of the plugin, which takes one or two on an idle machine."""

DIGEST = "sha256:" + "a" * 64
GROUP = "/apis/curation.dev/v1alpha1"


@dataclass(frozen=True)
class Plugin:
    """kubectl-curation in one namespace, as any user."""

    connection: Connection
    namespace: str

    def __call__(
        self,
        *args: str,
        user: str = "admin",
        groups: Sequence[str] = (),
        input: str | None = None,  # noqa: A002
        code: int | None = 0,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run it and check its exit code (None: any)."""
        result = subprocess.run(
            [*PLUGIN, *args],
            env=self.environment(user, groups) if environment is None else dict(environment),
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert "Traceback" not in result.stderr, result.stderr
        if code is not None:
            assert result.returncode == code, (
                f"exit code {result.returncode}, not {code}\n{result.stdout}\n{result.stderr}"
            )
        return result

    def environment(self, user: str = "admin", groups: Sequence[str] = ()) -> dict[str, str]:
        """What a person's shell has: their kubeconfig, whose context names the namespace."""
        environment = self.connection.environment(user, groups)
        source = json.loads(self.connection.kubeconfig(user, groups).read_text())
        source["contexts"][0]["context"]["namespace"] = self.namespace
        path = self.connection.kubeconfig(user, groups).with_suffix(f".{self.namespace}.json")
        path.write_text(json.dumps(source))
        path.chmod(0o600)
        return {**environment, "KUBECONFIG": str(path)}


@dataclass(frozen=True)
class Objects:
    """The objects of one namespace, written as admin."""

    connection: Connection
    namespace: str

    def path(self, plural: str, name: str = "", subresource: str = "") -> str:
        """The URL path of a curation.dev object."""
        scope = "" if plural == "clustercurationpolicies" else f"/namespaces/{self.namespace}"
        return "/".join(part for part in (f"{GROUP}{scope}/{plural}", name, subresource) if part)

    def get(self, plural: str, name: str) -> dict[str, Any]:
        """The object now."""
        return self._request("GET", self.path(plural, name))

    def create(self, plural: str, kind: str, name: str, spec: object, **metadata: object) -> dict[str, Any]:
        """A new object."""
        body = {
            "apiVersion": "curation.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, **metadata},
            "spec": spec,
        }
        return self._request("POST", self.path(plural), body)

    def delete(self, plural: str, name: str) -> None:
        """Delete it."""
        self._request("DELETE", self.path(plural, name))

    def patch(self, plural: str, name: str, body: object) -> dict[str, Any]:
        """Merge into it."""
        return self._request("PATCH", self.path(plural, name), body)

    def patch_if_there(self, plural: str, name: str, body: object) -> None:
        """Merge into it unless it is gone."""
        status, answer = self.connection.request("PATCH", self.path(plural, name), body)
        assert status in (200, 404), answer

    def status(self, plural: str, name: str, **status: object) -> dict[str, Any]:
        """Merge into its status, as the operator does; ``observedGeneration`` is the present one unless given."""
        if "observedGeneration" not in status:
            status["observedGeneration"] = self.get(plural, name)["metadata"]["generation"]
        return self._request("PATCH", self.path(plural, name, "status"), {"status": status})

    def job(self, name: str = "build", labels: Mapping[str, str] | None = None, **spec: object) -> dict[str, Any]:
        """A job of the module `build-session-message`."""
        full = {"moduleRef": {"name": "build-session-message"}, **spec}
        return self.create("curationjobs", "CurationJob", name, full, labels=labels or {})

    def module(self, name: str = "build-session-message") -> None:
        """A module that is Ready."""
        self.create("curationmodules", "CurationModule", name, {"source": {"builtin": "build-session-message-v1"}})
        ready = condition("Ready", "True", "Compiled")
        self.status("curationmodules", name, digest=DIGEST, sizeBytes=80000, conditions=[ready])

    def policy(self, name: str, cedar: str) -> None:
        """A CurationPolicy."""
        self.create("curationpolicies", "CurationPolicy", name, {"cedar": cedar})

    def approval(self, asked: EvaluatedRequest, jobs: Sequence[str] = (), waiting: int | None = None) -> str:
        """A Pending approval of this request, for which jobs wait; its name."""
        name = approval_name(asked)
        spec = {"request": asked.to_wire(), "requestDigest": request_digest(asked)}
        self.create("curationapprovals", "CurationApproval", name, spec)
        count = len(jobs) if waiting is None else waiting
        self.status("curationapprovals", name, jobs=list(jobs), waiting=count)
        return name

    def awaiting(self, name: str, asked: EvaluatedRequest, reason: str = "Denied") -> None:
        """Put a job into AwaitingApproval for this request."""
        waits = {
            "name": approval_name(asked),
            "requestDigest": request_digest(asked),
            "request": asked.to_wire(),
            "since": micro(-90),
        }
        self.status(
            "curationjobs",
            name,
            phase="AwaitingApproval",
            reason=reason,
            phaseSince=micro(-90),
            message="The call was denied.",
            run=self.run(name, finishedAt=micro(-90)),
            approval=waits,
            conditions=[condition("Authorized", "False", "Denied", "no policy permits the call")],
        )

    def run(self, name: str, **fields: object) -> dict[str, object]:
        """status.run of a first attempt."""
        uid = self.get("curationjobs", name)["metadata"]["uid"]
        return {
            "id": f"{uid}.g1.a1",
            "generation": 1,
            "attempt": 1,
            "retries": 0,
            "templateDigest": "v1:x",
            "module": {"name": "build-session-message", "digest": DIGEST},
            "holder": "operator-1/abc",
            "submittedAt": micro(-100),
            **fields,
        }

    def session(self, run: Mapping[str, object]) -> dict[str, object]:
        """status.session of a job whose run has started one."""
        return {"id": "session-1", "runID": run["id"], "spawnedAt": micro(-90)}

    def _request(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        status, answer = self.connection.request(method, path, body)
        assert status in (200, 201, 202), f"{method} {path}: {status} {answer}"
        result: dict[str, Any] = answer
        return result


def request(**changes: Any) -> EvaluatedRequest:
    """A denied request."""
    fields: dict[str, Any] = {
        "module": "build-session-message",
        "module_digest": DIGEST,
        "trigger": "Submit",
        "method": "POST",
        "scheme": "https",
        "host": "sessions.example.test",
        "port": 443,
        "path": "/sessions",
        "query": "dry=1",
    }
    return EvaluatedRequest(**{**fields, **changes})


def micro(seconds: float) -> str:
    """A MicroTime that many seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, object]:
    """A condition of now."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now}
