"""Whether a spec asks for a new run, and whether it can be run at all."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

import rfc8785

from curation.api.digest import MAX_DEPTH, depth, json_size, template_digest, without_nulls
from curation.api.job import MAX_INPUT_BYTES, CurationJob, JobSpec

# Specs of which the template is remembered: one decision asks several times, and each time costs 65 us or more.
REMEMBERED: Final = 512


@dataclass(frozen=True)
class Template:
    """The template of a spec: its digest, or what is wrong with it."""

    spec: JobSpec

    @cached_property
    def _digest_or_problem(self) -> tuple[str, str]:
        if depth(self.spec.input) > MAX_DEPTH:
            return "v1:invalid", (
                f"spec.input is nested deeper than {MAX_DEPTH} levels; give the module deep data as a string"
            )
        try:
            return template_digest(self.spec), ""
        except rfc8785.CanonicalizationError as error:
            # Such an input still needs an identity, so that mending it is seen as a change.
            return "v1:invalid", (
                f"spec.input holds a number that JSON cannot carry exactly ({error}); write it as a string"
            )

    @property
    def digest(self) -> str:
        """The template digest."""
        return self._digest_or_problem[0]

    @cached_property
    def problem(self) -> str:
        """What admission could not refuse: one sentence that names the field and the remedy, or nothing."""
        if self._digest_or_problem[1]:
            return self._digest_or_problem[1]
        size = json_size(without_nulls(self.spec.input))
        if size > MAX_INPUT_BYTES:
            return (
                f"spec.input is {size} bytes, more than the {MAX_INPUT_BYTES} allowed; "
                "keep large data elsewhere and give the module a reference to it"
            )
        return ""


@dataclass(frozen=True, eq=False)
class _Identity:
    """A spec as a key. Being immutable, it is told from others by what it is; its dicts have no hash."""

    spec: JobSpec

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Identity) and self.spec is other.spec

    def __hash__(self) -> int:
        return id(self.spec)


@lru_cache(maxsize=REMEMBERED)
def _template(key: _Identity) -> Template:
    return Template(key.spec)


def template_of(spec: JobSpec) -> Template:
    """The template of a spec."""
    return _template(_Identity(spec))


def template_changed(job: CurationJob) -> bool:
    """Whether the job asks for a new run.

    True iff metadata.generation is above observedGeneration and the digest differs: a difference at an equal
    generation comes from a release of ours (a new default, a new digest form), not from a user.
    """
    if job.metadata.generation <= job.status.observed_generation:
        return False
    return template_of(job.spec).digest != job.status.template_digest
