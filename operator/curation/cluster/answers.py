"""What the API server may answer, as types: each is handled differently (docs/fence.md, rule 4)."""

from dataclasses import dataclass
from typing import Any, Final

from curation.cluster.resources import ResourceKind

Document = dict[str, Any]
"""A Kubernetes object as its JSON document."""

MAX_WAIT: Final = 60.0


@dataclass(frozen=True, slots=True)
class Written:
    """200: the write was applied; ``obj`` is the object after it."""

    obj: Document


@dataclass(frozen=True, slots=True)
class Conflict:
    """409: the object is no longer at that resourceVersion. Alone it proves nothing: a label edit bumps it too."""


@dataclass(frozen=True, slots=True)
class Gone:
    """404: there is no object of that name."""


@dataclass(frozen=True, slots=True)
class Refused:
    """403, 413, 422 and other refusals: admission, RBAC or validation objects. It may stop objecting."""

    code: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Throttled:
    """429: not carried out; ask again in ``retry_after`` seconds."""

    retry_after: float


@dataclass(frozen=True, slots=True)
class Unknown:
    """Timeout, reset or 5xx: the write may or may not have been applied."""

    message: str


@dataclass(frozen=True, slots=True)
class Created:
    """201: the object was made; ``obj`` is the object."""

    obj: Document


@dataclass(frozen=True, slots=True)
class Exists:
    """409: another object has that name."""


WriteAnswer = Written | Conflict | Gone | Refused | Throttled | Unknown
Creation = Created | Exists | Refused | Throttled | Unknown


class APIError(Exception):
    """The API server answered a read or a delete with an error."""

    def __init__(self, code: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after

    @property
    def refusal(self) -> Refused | None:
        """What it says if somebody objects; None where the server asks for patience, or is in trouble."""
        objected = 400 <= self.code < 500 and self.code not in (404, 408, 409, 429)
        return Refused(self.code, self.reason, self.message) if objected or no_room(self.message) else None


class Unreachable(Exception):
    """The API server gave no answer: timeout, reset, refused connection, or a broken answer."""


def no_room(message: str) -> bool:
    """Whether a 500 says that the store has no room for the object, or for any: it was not written.

    Trap: the API server passes on what etcd says as an internal error. Measured on v1.37.2.
    """
    return any(words in message for words in _NO_ROOM)


_NO_ROOM: Final = (
    "etcdserver: request is too large",  # over --max-request-bytes, 1.5 MiB unless it is set
    "trying to send message larger than max",  # over what the client of the API server sends, 2 MiB
    "etcdserver: mvcc: database space exceeded",  # over --quota-backend-bytes
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A metav1.Status, or what can be known without one."""

    code: int
    reason: str
    message: str
    retry_after: float | None
    details: Document
    metadata: Document

    def says_absent(self, kind: ResourceKind, name: str) -> bool:
        """Whether this says that the *object* does not exist.

        Trap: a server or proxy that does not serve the path (yet) answers 404 too, in plain text or about no name.
        Taken for a deletion, it would drop a good completion.
        """
        asked = (self.details.get("kind"), self.details.get("name"))
        return self.code == 404 and self.reason == "NotFound" and asked == (kind.plural, name)

    def error(self) -> APIError:
        """The same as an exception."""
        return APIError(self.code, self.reason, self.message, self.retry_after)

    @property
    def wait(self) -> float:
        """Seconds to wait after a 429; a server that names no time, or none to be waited, means about one."""
        named = self.retry_after
        return min(named, MAX_WAIT) if named is not None and named > 0 else 1.0
