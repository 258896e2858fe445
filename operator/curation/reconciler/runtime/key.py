"""Which object needs work."""

from typing import NamedTuple

from curation.cluster.resources import JOBS, ResourceKind
from curation.lifecycle.log_fields import run_fields


class Key(NamedTuple):
    """An object that needs work."""

    kind: ResourceKind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind.kind} {self.name}"

    @property
    def log_fields(self) -> dict[str, object]:
        """The `extra` of a line about the object."""
        return run_fields(self.namespace, self.name, None) if self.kind is JOBS else {}


def namespace_of(key: Key) -> str:
    """In whose turn the object is worked on; empty for one of the whole cluster."""
    return key.namespace
