"""The structured fields of a log line about a run: all that was logged of one is found by them."""

from curation.api.job import Run
from curation.api.names import Trigger
from curation.lifecycle.outcome import RunKey


def run_fields(namespace: str, job: str, run: Run | RunKey | None, trigger: Trigger | None = None) -> dict[str, object]:
    """The `extra` of a line about a run of a job, or about one execution of it; without a run, of one about the job."""
    fields: dict[str, object] = {"job": f"{namespace}/{job}"}
    if run is not None:
        fields |= {"run_id": run.id, "generation": run.generation, "attempt": run.attempt}
    if trigger is not None:
        fields["trigger"] = trigger.value
    return fields
