"""What can go wrong for a caller of the client. Each message names the object; all are `CurationError`."""

from curation.api.job import CurationJob
from curation.cluster.answers import Failure


class CurationError(Exception):
    """The base of all that the client raises."""


class NotFound(CurationError):
    """There is no such object."""


class AlreadyExists(CurationError):
    """There is an object of that name already."""


class Denied(CurationError):
    """The caller may not do that: RBAC, or an admission policy that is about who asks."""


class Refused(CurationError):
    """The API server does not accept what was sent: the schema, a rule or an admission policy objects."""


class Unavailable(CurationError):
    """The API server gave no answer, or is in trouble. A write may have been carried out: look before you repeat it."""


class JobGone(CurationError):
    """The job was deleted while it was waited for; one of its name that was made since is another."""


class NotFinished(CurationError, TimeoutError):
    """The time to wait is over. `job` is how it was seen last."""

    def __init__(self, message: str, job: CurationJob) -> None:
        super().__init__(message)
        self.job = job


class JobFailed(CurationError):
    """The job has failed. `job` has the reason, the message, and in `status.run.log` what the module logged."""

    def __init__(self, job: CurationJob) -> None:
        status = job.status
        super().__init__(f"CurationJob {job.metadata.namespace}/{job.metadata.name}: {status.reason}: {status.message}")
        self.job = job


def error_of(failure: Failure, doing: str) -> CurationError:
    """What a refusal of the API server means to the caller."""
    text = f"cannot {doing}: {failure.message.strip() or failure.reason}"
    match failure.code:
        case 401 | 403:
            return Denied(text)
        case 404:
            return NotFound(text)
        case 409 if failure.reason == "AlreadyExists":
            return AlreadyExists(text)
        case code if code >= 500 or code in (408, 429):
            return Unavailable(text)
        case _:
            return Refused(text)
