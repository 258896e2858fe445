"""What an Event refers to."""

from curation.api.job import CurationJob
from curation.api.names import API_VERSION
from curation.cluster.answers import Document
from curation.cluster.cache import Stored
from curation.reconciler.runtime.key import Key


def regarding(job: CurationJob) -> Document:
    """The `regarding` of an Event about the job."""
    meta = job.metadata
    return {
        "apiVersion": API_VERSION,
        "kind": "CurationJob",
        "metadata": {
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        },
    }


def regarding_object(key: Key, stored: Stored) -> Document:
    """The same of any object that is in a cache."""
    return {
        "apiVersion": key.kind.api_version,
        "kind": key.kind.kind,
        "metadata": {
            "name": stored.name,
            "namespace": stored.namespace,
            "uid": stored.uid,
            "resourceVersion": str(stored.resource_version),
        },
    }
