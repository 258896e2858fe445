"""Who asked the API server what: its audit log as records, so that a test can count the writes of a user.

The API server writes a record when a request ends, before or just after the client has the answer, so wait for a
count rather than expect it at once. A watch is recorded when it ends.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FILE = "audit.jsonl"

POLICY = json.dumps(
    {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [
            # The servers' own talk is most of what there is, and nobody counts it.
            {"level": "None", "users": ["system:apiserver", "system:kube-controller-manager"]},
            {"level": "None", "nonResourceURLs": ["*"]},
            {"level": "Metadata", "omitManagedFields": True},
        ],
    }
).encode()

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class AuditRecord:
    """One finished request; names are empty where it has none: a list, or a creation that was refused unread."""

    user: str
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    path: str
    user_agent: str

    @property
    def is_write(self) -> bool:
        """Whether it was a request that could change something."""
        return self.verb in WRITES


def read(folder: Path) -> list[AuditRecord]:
    """All records so far, oldest first; none if the control plane was started without its audit log."""
    try:
        text = (folder / FILE).read_text()
    except FileNotFoundError:
        return []
    # What follows the last line end is being written.
    return [_record(line) for line in text.rpartition("\n")[0].splitlines()]


def _record(line: str) -> AuditRecord:
    event = json.loads(line)
    target = event.get("objectRef", {})
    return AuditRecord(
        user=event.get("impersonatedUser", event["user"])["username"],
        verb=event["verb"],
        group=target.get("apiGroup", ""),
        resource=target.get("resource", ""),
        subresource=target.get("subresource", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        path=event["requestURI"],
        user_agent=event.get("userAgent", ""),
    )
