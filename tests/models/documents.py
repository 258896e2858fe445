"""What the parts of the model share: the one job's name, the wall limit, and raw documents as models."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from curation.api.job import CurationJob, JobSpec
from curation.cluster.resources import JOBS
from curation.reconciler.runtime.key import Key

Document = dict[str, Any]

NAME: Final = "job"
NAMESPACE: Final = "ns"
KEY: Final = Key(JOBS, NAMESPACE, NAME)
DIGEST: Final = "sha256:" + "0" * 64
WALL: Final = timedelta(seconds=120)
"""How long a run may last (CurationModule's limits.wallSeconds)."""


@dataclass
class Request:
    """A Submit request on its way to the session service."""

    run_id: str
    key: str
    creates: bool
    until: datetime
    """The wall limit of its run: nobody who carries it out later got it in time."""
    carried_out: bool = False
    session: str | None = None


def parse(obj: Document) -> CurationJob:
    """A raw document as the model that the operator works with."""
    return CurationJob.model_validate(obj)


def placed(obj: Document) -> Document:
    """The document as a process gets it: the model's API server knows one namespace, and does not name it."""
    return {**obj, "metadata": {**obj["metadata"], "namespace": NAMESPACE}}


def version(obj: Document) -> str:
    """The resourceVersion."""
    return str(obj["metadata"]["resourceVersion"])


def template(obj: Document) -> Document:
    """The fields whose change asks for a new run."""
    return {
        field: obj["spec"].get(field) for field in ("moduleRef", "input", "inputFrom", "config", "executor", "rerun")
    }


def with_defaults(obj: Document) -> Document:
    """What the schema of the CRD fills in."""
    spec = JobSpec.model_validate(obj["spec"]).to_wire()
    return {**obj, "spec": spec, "status": {"observedGeneration": -1, **obj.get("status", {})}}
