"""Whether a spec asks for a new run, and whether it can be run at all."""

import hashlib
import json
import weakref
from dataclasses import dataclass
from typing import Final

import rfc8785

from curation.api.digest import MAX_DEPTH, depth, json_size, template_digest, without_nulls
from curation.api.excess import INPUT_REMEDY, Excess, too_deep, too_large
from curation.api.job import MAX_INPUT_BYTES, CurationJob, JobSpec, JobStatus
from curation.api.references import Frozen

FORM: Final = "v1:"
"""What the digests of this release begin with."""


@dataclass(frozen=True, slots=True)
class Template:
    """What a spec asks to run: the digest of it, and what is wrong with it."""

    digest: str
    problem: str = ""
    """What admission could not refuse: one sentence that names the field and the remedy, or nothing."""

    @classmethod
    def of(cls, spec: JobSpec, frozen: Frozen | None = None) -> "Template":
        """The template of a spec, with what its references named when that was frozen, if it was.

        Its size is checked first: what is too large is not put into canonical form.
        """
        size = json_size(document := without_nulls(spec.input)) if (levels := depth(spec.input)) <= MAX_DEPTH else 0
        if levels > MAX_DEPTH:
            return cls(f"{FORM}invalid", too_deep("spec.input", MAX_DEPTH))
        if size > MAX_INPUT_BYTES:
            references = [ref.to_wire() for ref in (spec.input_from, spec.config_from) if ref is not None]
            where = [spec.executor.to_wire()] if spec.executor.in_pod else []
            parts = [spec.module_ref.name, document, spec.config, spec.rerun, *references, *where]
            plain = json.dumps(parts, sort_keys=True)
            digest = f"{FORM}{hashlib.sha256(plain.encode()).hexdigest()}"
            return cls(digest, too_large("spec.input", size, MAX_INPUT_BYTES, INPUT_REMEDY))
        try:
            digest = template_digest(spec, frozen)
        except rfc8785.CanonicalizationError as error:
            # Such an input still needs an identity, so that mending it is seen as a change.
            problem = f"spec.input holds a number that JSON cannot carry exactly ({error}); write it as a string"
            return cls(f"{FORM}invalid", problem)
        both = bool(document) and spec.input_from is not None  # which the CRD does not let through
        return cls(digest, "spec.inputFrom and spec.input are both set; keep one of them" if both else "")

    @classmethod
    def of_part(cls, spec: JobSpec, excess: Excess) -> "Template":
        """The template of a spec of which a part was left out."""
        fields = {"module_ref", "config", "rerun", "input_from", "config_from"}
        fields |= {"executor"} if spec.executor.in_pod else set()  # at its default it changes no digest
        known = spec.model_dump_json(include=fields, exclude_none=True)
        return cls(f"{FORM}{hashlib.sha256(f'{known}{excess.digest}'.encode()).hexdigest()}", excess.message)


# One decision asks several times, and each time costs 65 us or more. It is remembered as long as the very spec is.
_known: Final[dict[int, tuple[weakref.ref[JobSpec], Frozen | None, Template]]] = {}


def template_of(job: CurationJob, frozen: Frozen | None = None) -> Template:
    """The template of a job with what was `frozen`. It costs what it is large: ask only where it may have changed."""
    spec, key = job.spec, id(job.spec)
    if job.excess is not None:
        return Template.of_part(spec, job.excess)
    known = _known.get(key)
    if known is not None and known[0]() is spec and known[1] is frozen:
        return known[2]
    template = Template.of(spec, frozen)
    _known[key] = (weakref.ref(spec, lambda ref: _forget(key, ref)), frozen, template)
    return template


def _forget(key: int, gone: "weakref.ref[JobSpec]") -> None:
    if key in _known and _known[key][0] is gone:
        del _known[key]


def refers(spec: JobSpec) -> bool:
    """Whether a part of the template is to be read from elsewhere, and frozen, before a run can be claimed."""
    return spec.input_from is not None or spec.config_from is not None


def template_digest_of(job: CurationJob, status: JobStatus | None = None) -> str:
    """The template digest of a job, with what the status that is to be written (or is there) has frozen.

    Made where the generation is unseen, its form is not of this release, or something else is frozen now.
    """
    frozen = (status or job.status).frozen
    seen = job.metadata.generation <= job.status.observed_generation and job.status.template_digest.startswith(FORM)
    if seen and frozen is job.status.frozen:
        return job.status.template_digest
    return template_of(job, frozen).digest


def template_changed(job: CurationJob) -> bool:
    """Whether the job asks for a new run.

    True iff metadata.generation is above observedGeneration and the digest differs: a difference at an equal
    generation comes from a release of ours (a new default, a new digest form), not from a user.
    """
    if job.metadata.generation <= job.status.observed_generation:
        return False
    return template_digest_of(job) != job.status.template_digest
