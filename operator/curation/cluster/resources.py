"""The resource types that the operator reads or writes, and their paths on the API server."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import quote

from curation.api.names import GROUP, VERSION


@dataclass(frozen=True)
class ResourceKind:
    """One resource type. ``group`` is empty for the core group."""

    kind: str
    plural: str
    group: str = GROUP
    version: str = VERSION
    namespaced: bool = True

    @cached_property
    def api_version(self) -> str:
        """What objects of this type say in ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def _root(self) -> str:
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of an object, or of a collection without ``name``.

        ``namespace`` is None for all namespaces and for cluster-scoped types; an object of a namespaced type needs one.
        """
        parts = [self._root]
        if self.namespaced and namespace:
            parts.append(f"namespaces/{quote(namespace, safe='')}")
        elif self.namespaced and name:
            raise ValueError(f"{self.kind} {name!r} needs a namespace")
        parts.append(self.plural)
        if name:
            parts.append(quote(name, safe=""))
            if subresource:
                parts.append(subresource)
        return "/".join(parts)


JOBS: Final = ResourceKind("CurationJob", "curationjobs")
MODULES: Final = ResourceKind("CurationModule", "curationmodules")
POLICIES: Final = ResourceKind("CurationPolicy", "curationpolicies")
CLUSTER_POLICIES: Final = ResourceKind("ClusterCurationPolicy", "clustercurationpolicies", namespaced=False)
APPROVALS: Final = ResourceKind("CurationApproval", "curationapprovals")

KINDS: Final = {kind.kind: kind for kind in (JOBS, MODULES, POLICIES, CLUSTER_POLICIES, APPROVALS)}
"""The five kinds of curation.dev, by kind."""

CONFIG_MAPS: Final = ResourceKind("ConfigMap", "configmaps", "", "v1")
SECRETS: Final = ResourceKind("Secret", "secrets", "", "v1")
NAMESPACES: Final = ResourceKind("Namespace", "namespaces", "", "v1", namespaced=False)
EVENTS: Final = ResourceKind("Event", "events", "events.k8s.io", "v1")
BATCH_JOBS: Final = ResourceKind("Job", "jobs", "batch", "v1")
PODS: Final = ResourceKind("Pod", "pods", "", "v1")
TOKEN_REVIEWS: Final = ResourceKind("TokenReview", "tokenreviews", "authentication.k8s.io", "v1", namespaced=False)
LEASES: Final = ResourceKind("Lease", "leases", "coordination.k8s.io", "v1")
