"""What is left of a job that cannot be read: enough to let it go, and to cancel what it may own."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter, ValidationError

from curation.api.job import (
    AbandonedRun,
    CurationJob,
    JobSpec,
    JobStatus,
    ModuleReference,
    RunID,
    RunModule,
    Session,
    SessionReference,
)
from curation.api.names import Phase
from curation.api.schema import MicroTime, ObjectMeta

T = TypeVar("T")

# A schema bounds them to 20; one of another release may not.
MAX_ENTRIES: Final = 64

_RUN_ID: Final = TypeAdapter[str](RunID)
_MODULE: Final = TypeAdapter(RunModule)
_CONFIG: Final = TypeAdapter(dict[str, str])
_SESSION: Final = TypeAdapter(Session)
_REFERENCE: Final = TypeAdapter(SessionReference)
_TIME: Final = TypeAdapter[datetime](MicroTime)
_META: Final = TypeAdapter(ObjectMeta)


def remains_of(document: Mapping[str, Any]) -> CurationJob:
    """A job with the metadata, the session and, as runs to be cleaned, all that may own a session.

    Each piece is taken for itself: what of it cannot be read is left out, or replaced by what the spec says. It has no
    phase, and is never to be written back.
    """
    meta = _read(_META, document.get("metadata")) or _bare(document)
    spec, status = _mapping(document.get("spec")), _mapping(document.get("status"))
    module = _mapping(spec.get("moduleRef")).get("name")
    name = module if isinstance(module, str) else ""
    config = _read(_CONFIG, spec.get("config"))
    now = meta.deletion_timestamp or meta.creation_timestamp or datetime.fromtimestamp(0, UTC)
    entries: dict[str, AbandonedRun] = {}
    for index, (run, session) in enumerate(_may_own_sessions(status)):
        run_id = _read(_RUN_ID, run.get("id"))
        reference = _read(_REFERENCE, session)
        if run_id is None and reference is None:
            continue  # nothing names what is to be cancelled
        # With a session known it is that one which is cancelled, whatever the run is called.
        run_id = run_id or f"{meta.uid}.g{meta.generation}.a{index + 1}"
        entries.setdefault(
            run_id,
            AbandonedRun.model_construct(
                id=run_id,
                session=reference,
                module=_read(_MODULE, run.get("module")) or RunModule.model_construct(name=name, digest=""),
                config=_read(_CONFIG, run.get("config")) or config,
                since=_read(_TIME, run.get("since")) or now,
            ),
        )
    return CurationJob.model_construct(
        metadata=meta,
        spec=JobSpec.model_construct(module_ref=ModuleReference.model_construct(name=name)),
        status=JobStatus.model_construct(
            session=_read(_SESSION, status.get("session")), abandoned_runs=tuple(entries.values())
        ),
    )


def _may_own_sessions(status: Mapping[str, Any]) -> Iterable[tuple[Mapping[str, Any], object]]:
    """The runs that the status names, each with its session: those to be cleaned, and one that has not ended."""
    listed = status.get("abandonedRuns")
    for entry in listed[:MAX_ENTRIES] if isinstance(listed, list) else ():
        yield _mapping(entry), _mapping(entry).get("session")
    phase, session = status.get("phase"), _mapping(status.get("session"))
    if phase in (Phase.COMPLETED, Phase.FAILED) or (phase in (Phase.QUEUED, Phase.AWAITING_APPROVAL) and not session):
        return
    run = _mapping(status.get("run"))
    yield {"id": session.get("runID"), **run}, session


def _read(adapter: TypeAdapter[T], value: object) -> T | None:
    try:
        return adapter.validate_python(value)
    except (ValidationError, RecursionError):
        return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _bare(document: Mapping[str, Any]) -> ObjectMeta:
    """What every object has, whatever else its metadata says."""
    meta = _mapping(document.get("metadata"))
    name, namespace, uid = (str(meta.get(field, "")) for field in ("name", "namespace", "uid"))
    return ObjectMeta.model_construct(name=name, namespace=namespace, uid=uid)
