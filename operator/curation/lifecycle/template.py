"""Whether a spec asks for a new run, and whether it can be run at all."""

import hashlib
import json
import weakref
from dataclasses import dataclass
from typing import Final

import rfc8785

from curation.api.digest import MAX_DEPTH, depth, json_size, template_digest, without_nulls
from curation.api.excess import INPUT_REMEDY, Excess, too_deep, too_large
from curation.api.job import MAX_INPUT_BYTES, CurationJob, JobSpec

FORM: Final = "v1:"
"""What the digests of this release begin with."""


@dataclass(frozen=True, slots=True)
class Template:
    """What a spec asks to run: the digest of it, and what is wrong with it."""

    digest: str
    problem: str = ""
    """What admission could not refuse: one sentence that names the field and the remedy, or nothing."""

    @classmethod
    def of(cls, spec: JobSpec) -> "Template":
        """The template of a spec. Its size is checked first: what is too large is not put into canonical form."""
        size = json_size(document := without_nulls(spec.input)) if (levels := depth(spec.input)) <= MAX_DEPTH else 0
        if levels > MAX_DEPTH:
            return cls(f"{FORM}invalid", too_deep("spec.input", MAX_DEPTH))
        if size > MAX_INPUT_BYTES:
            plain = json.dumps([spec.module_ref.name, document, spec.config, spec.rerun], sort_keys=True)
            digest = f"{FORM}{hashlib.sha256(plain.encode()).hexdigest()}"
            return cls(digest, too_large("spec.input", size, MAX_INPUT_BYTES, INPUT_REMEDY))
        try:
            return cls(template_digest(spec))
        except rfc8785.CanonicalizationError as error:
            # Such an input still needs an identity, so that mending it is seen as a change.
            problem = f"spec.input holds a number that JSON cannot carry exactly ({error}); write it as a string"
            return cls(f"{FORM}invalid", problem)

    @classmethod
    def of_part(cls, spec: JobSpec, excess: Excess) -> "Template":
        """The template of a spec of which a part was left out."""
        known = spec.model_dump_json(include={"module_ref", "config", "rerun"})
        return cls(f"{FORM}{hashlib.sha256(f'{known}{excess.digest}'.encode()).hexdigest()}", excess.message)


# One decision asks several times, and each time costs 65 us or more. It is remembered as long as the very spec is.
_known: Final[dict[int, tuple[weakref.ref[JobSpec], Template]]] = {}


def template_of(job: CurationJob) -> Template:
    """The template of a job. It costs what the spec is large: ask only where it may have changed."""
    spec, key = job.spec, id(job.spec)
    if job.excess is not None:
        return Template.of_part(spec, job.excess)
    known = _known.get(key)
    if known is not None and known[0]() is spec:
        return known[1]
    template = Template.of(spec)
    _known[key] = (weakref.ref(spec, lambda ref: _forget(key, ref)), template)
    return template


def _forget(key: int, gone: "weakref.ref[JobSpec]") -> None:
    if key in _known and _known[key][0] is gone:
        del _known[key]


def template_digest_of(job: CurationJob) -> str:
    """The template digest of a job: made where the generation is unseen, or its form is not of this release."""
    if job.metadata.generation <= job.status.observed_generation and job.status.template_digest.startswith(FORM):
        return job.status.template_digest
    return template_of(job).digest


def template_changed(job: CurationJob) -> bool:
    """Whether the job asks for a new run.

    True iff metadata.generation is above observedGeneration and the digest differs: a difference at an equal
    generation comes from a release of ours (a new default, a new digest form), not from a user.
    """
    if job.metadata.generation <= job.status.observed_generation:
        return False
    return template_digest_of(job) != job.status.template_digest
