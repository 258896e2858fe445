"""A namespace of jobs, as a team would have one, and the witness's verdict on them."""

import json
import secrets
from collections.abc import Sequence

from tests.e2e.installation import OURS
from tests.e2e.kubectl import Document, apply, get, items, kubectl, until
from tests.e2e.service import Sessions

MODULE = "build-session-message"

WALL_SECONDS = 45
"""A run whose answers nobody saw is cancelled once more when it could no longer do anything: after this time."""


class Team:
    """A namespace with the shipped module, and no policy yet."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.namespace = f"e2e-{secrets.token_hex(4)}"
        metadata = {"name": self.namespace, "labels": {OURS: "jobs"}}
        apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        spec = {
            "source": {"builtin": "build-session-message-v1"},
            "config": {"api_url": sessions.url},
            "limits": {"wallSeconds": WALL_SECONDS},
        }
        apply(self._object("CurationModule", MODULE, spec))
        # A module is Ready everywhere before a test begins: its first compilation may take a while.
        kubectl("wait", "--for=condition=Ready", f"cmod/{MODULE}", "-n", self.namespace, "--timeout=180s")

    def permit(self) -> None:
        """A policy that lets the module call the session service."""
        cedar = (
            f'permit(principal, action == Action::"http_call", resource == HttpEndpoint::"{self.sessions.address}");'
        )
        apply(self._object("CurationPolicy", "session-service", {"cedar": cedar}))
        kubectl("wait", "--for=condition=Ready", "curpol/session-service", "-n", self.namespace, "--timeout=180s")

    def limit_runs(self, seconds: int) -> None:
        """Let runs take so long: a held answer must not meet the limit, and clean-up waits for it."""
        patch = json.dumps({"spec": {"limits": {"wallSeconds": seconds}}})
        kubectl("patch", "cmod", MODULE, "-n", self.namespace, "--type=merge", "-p", patch)

    def create_jobs(self, count: int, prefix: str = "job", **spec: object) -> list[str]:
        """So many jobs in one `kubectl apply`; their names."""
        names = [f"{prefix}-{number}" for number in range(count)]
        apply(
            *(
                self._object(
                    "CurationJob",
                    name,
                    {
                        "moduleRef": {"name": MODULE},
                        "input": {"message": f"work of {name}"},
                        "observeIntervalSeconds": 1,
                        **spec,
                    },
                )
                for name in names
            )
        )
        return names

    def jobs(self, names: Sequence[str] = ()) -> list[Document]:
        """These jobs, or all of the namespace."""
        return [job for job in items("cjob", "-n", self.namespace) if not names or job["metadata"]["name"] in names]

    def job(self, name: str) -> Document:
        """One job."""
        return get("cjob", name, "-n", self.namespace)

    def until_phase(self, phase: str, names: Sequence[str]) -> None:
        """Wait until all these jobs are in a phase."""
        until(
            lambda: [job.get("status", {}).get("phase") for job in self.jobs(names)] == [phase] * len(names),
            f"{len(names)} jobs are {phase}",
            self.picture,
        )

    def until_settled(self, names: Sequence[str]) -> None:
        """Wait until these jobs are Running, each with its one live session, and nothing is left to clean."""
        until(lambda: not self.problems(names), f"{len(names)} jobs run one session each", self.picture)

    def problems(self, names: Sequence[str]) -> list[str]:
        """What keeps these jobs from being settled."""
        found = []
        jobs = self.jobs(names)
        if len(jobs) != len(names):
            found.append(f"there are {len(jobs)} jobs of {len(names)}")
        for job in jobs:
            name, status = job["metadata"]["name"], job.get("status", {})
            live = [(session["id"], session["runID"]) for session in self.sessions.live(job["metadata"]["uid"])]
            wanted = [(status.get("session", {}).get("id"), status.get("run", {}).get("id"))]
            if status.get("phase") != "Running":
                found.append(f"{name} is {status.get('phase')} ({status.get('reason')}): {status.get('message')}")
            elif live != wanted:
                found.append(f"{name} names {wanted} in its status; live for it: {live}")
            elif status.get("abandonedRuns"):
                found.append(f"{name} has runs to clean: {[run['id'] for run in status['abandonedRuns']]}")
        return found

    def failures(self) -> list[str]:
        """The jobs that have failed, or have had a run that did."""
        return [
            f"{job['metadata']['name']}: {job['status'].get('history')} {job['status'].get('message')}"
            for job in self.jobs()
            if job["status"]["phase"] == "Failed"
            or any(run["outcome"] == "Failed" for run in job["status"].get("history", ()))
        ]

    def picture(self) -> str:
        """The present state, for a person who reads a failed test."""
        names = [job["metadata"]["name"] for job in self.jobs()]
        table = kubectl("get", "cjob,cmod,curpol,cappr", "-n", self.namespace, "-o", "wide")
        return "\n".join([*self.problems(names), table])

    def delete(self) -> None:
        """Take it away; its sessions end with it."""
        kubectl("delete", "namespace", self.namespace, "--ignore-not-found")

    def _object(self, kind: str, name: str, spec: Document) -> Document:
        return {
            "apiVersion": "curation.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec,
        }
