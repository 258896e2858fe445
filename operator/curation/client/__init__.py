"""The Python client for pipelines (docs/python-client.md): make a job, follow it, decide what it waits for.

What is imported from here is the client's interface; `curation.api` has the models' further parts.
"""

from curation.api.approval import ApprovalDecision, CurationApproval, Scope
from curation.api.job import CurationJob, JobSpec, JobStatus, ModuleReference, OnDenied, Retry, Timeouts
from curation.api.names import Phase
from curation.api.references import ConfigFrom, ConfigMapKeyRef, ConfigMapRef, InputFrom
from curation.client.client import Client
from curation.client.errors import (
    AlreadyExists,
    CurationError,
    Denied,
    JobFailed,
    JobGone,
    NotFinished,
    NotFound,
    Refused,
    Unavailable,
)

__all__ = [
    "AlreadyExists",
    "ApprovalDecision",
    "Client",
    "ConfigFrom",
    "ConfigMapKeyRef",
    "ConfigMapRef",
    "CurationApproval",
    "CurationError",
    "CurationJob",
    "Denied",
    "InputFrom",
    "JobFailed",
    "JobGone",
    "JobSpec",
    "JobStatus",
    "ModuleReference",
    "NotFinished",
    "NotFound",
    "OnDenied",
    "Phase",
    "Refused",
    "Retry",
    "Scope",
    "Timeouts",
    "Unavailable",
]
