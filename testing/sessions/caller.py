"""Who calls: the run that the operator names in the headers of every outbound request."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class RunCaller:
    """The run, as far as the headers name it. Calls by hand, such as `curl`, name none."""

    run_id: str | None = None
    generation: int | None = None
    attempt: int | None = None
    trigger: str | None = None

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> "RunCaller":
        """Reads the headers `Curation-Run-Id`, `-Generation`, `-Attempt` and `-Trigger`."""
        return cls(
            run_id=headers.get("Curation-Run-Id"),
            generation=_number(headers.get("Curation-Generation")),
            attempt=_number(headers.get("Curation-Attempt")),
            trigger=headers.get("Curation-Trigger"),
        )

    @property
    def job(self) -> str | None:
        """The job's uid: a run id is `<uid>.g<generation>.a<attempt>`."""
        return job_of(self.run_id)


def job_of(run_id: str | None) -> str | None:
    """The job's uid in a run id."""
    return None if run_id is None else run_id.rsplit(".g", 1)[0]


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
