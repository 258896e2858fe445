"""Whether a spec asks for a new run, and whether it can be run at all."""

from dataclasses import dataclass
from functools import cached_property

import rfc8785

from curation.api.digest import MAX_DEPTH, depth, json_size, template_digest, without_nulls
from curation.api.job import MAX_INPUT_BYTES, CurationJob, JobSpec


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


def template_changed(job: CurationJob) -> bool:
    """Whether the job asks for a new run.

    True iff metadata.generation is above observedGeneration and the digest differs: a difference at an equal
    generation comes from a release of ours (a new default, a new digest form), not from a user.
    """
    if job.metadata.generation <= job.status.observed_generation:
        return False
    return Template(job.spec).digest != job.status.template_digest
