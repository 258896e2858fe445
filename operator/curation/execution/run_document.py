"""The document that a module is invoked with."""

from datetime import datetime

from curation.api.contract import GuestSession, JobInfo, RunContext, RunInfo
from curation.api.digest import without_nulls
from curation.api.names import (
    ANNOTATION_ATTEMPT,
    ANNOTATION_GENERATION,
    ANNOTATION_RUN_ID,
    ANNOTATION_TEMPLATE_DIGEST,
)
from curation.execution.seam import ExecutionRequest


def context_document(request: ExecutionRequest, deadline: datetime) -> str:
    """The JSON text of the request's RunContext."""
    run, session = request.run, request.session
    document = without_nulls(request.input)
    assert isinstance(document, dict)
    context = RunContext(
        trigger=request.trigger,
        run=RunInfo(id=run.id, generation=run.generation, attempt=run.attempt),
        annotations={
            ANNOTATION_RUN_ID: run.id,
            ANNOTATION_GENERATION: str(run.generation),
            ANNOTATION_ATTEMPT: str(run.attempt),
            ANNOTATION_TEMPLATE_DIGEST: run.template_digest,
        },
        job=JobInfo(namespace=request.namespace, name=request.job, uid=run.uid, labels=dict(request.labels)),
        input=document,
        config=dict(request.config),
        # Built unchecked: a recorded id that a newer contract would refuse must still be cancelled.
        session=None if session is None else GuestSession.model_construct(id=session.id, url=session.url),
        deadline=deadline,
    )
    return context.model_dump_json()
