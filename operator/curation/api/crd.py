"""The CustomResourceDefinitions, generated from the models.

`hack/generate.py` writes them to `crds/` and `curation-operator crds` prints them. What the models cannot say (names,
printer columns, selectable fields) is the table `CRD_KINDS`.
"""

from dataclasses import dataclass
from typing import Any, Final

import yaml

from curation.api.approval import CurationApproval
from curation.api.job import CurationJob
from curation.api.module import CurationModule
from curation.api.names import GROUP, VERSION
from curation.api.policy import ClusterCurationPolicy, CurationPolicy
from curation.api.schema import Model, ResourceModel, cel
from curation.api.structural import Schema, structural_schema

# A label value holds 63 characters; 11 are left for suffixes, as CronJob leaves them for the names of its Jobs.
MAX_JOB_NAME: Final = 52

_API_VERSION_TEXT = (
    "The version of this representation of the object. The server converts what it knows and refuses the rest."
)
_KIND_TEXT = "The kind of the object. It cannot be changed."


@dataclass(frozen=True)
class Column:
    """A column of ``kubectl get``; wide ones only with ``-o wide``."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False

    def to_wire(self) -> dict[str, Any]:
        """The form of additionalPrinterColumns."""
        return {
            "name": self.name,
            "type": self.type,
            "description": self.description,
            "jsonPath": self.path,
            **({"priority": 1} if self.wide else {}),
        }


@dataclass(frozen=True)
class Kind:
    """What a CRD says about a kind beside its schema."""

    model: type[ResourceModel]
    plural: str
    short_name: str
    columns: tuple[Column, ...]
    namespaced: bool = True
    categories: tuple[str, ...] = ("curation",)
    selectable: tuple[str, ...] = ()
    limited_name: bool = False

    @property
    def name(self) -> str:
        """The kind's name, such as CurationJob."""
        return self.model.__name__

    @property
    def crd_name(self) -> str:
        """Name of the CustomResourceDefinition object."""
        return f"{self.plural}.{GROUP}"


_AGE = Column("Age", ".metadata.creationTimestamp", "Time since the object was created.", "date")


def _ready(what: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{what}")].{field}'


_READY = (
    Column("Ready", _ready("Ready", "status"), "Whether it can be used."),
    Column("Reason", _ready("Ready", "reason"), "Why it can or cannot be used."),
)
_READY_MESSAGE = Column("Message", _ready("Ready", "message"), "One sentence for a person.", wide=True)
_POLICY_COLUMNS = (
    *_READY,
    Column("Policies", ".status.policies", "How many Cedar policies the text holds.", "integer"),
    Column("In-Force", ".status.inForce.generation", "The generation that counts; empty if none does.", "integer"),
    _AGE,
    _READY_MESSAGE,
)

CRD_KINDS: Final = (
    Kind(
        CurationJob,
        "curationjobs",
        "cjob",
        (
            Column("Phase", ".status.phase", "Where the job is in its life."),
            Column("Reason", ".status.reason", "Why the job is in its phase."),
            Column("Attempt", ".status.run.attempt", "Attempt of the last run, under its generation.", "integer"),
            Column("Session", ".status.session.id", "Id of the agent session."),
            _AGE,
            Column("Run", ".status.run.id", "Id of the last run.", wide=True),
            Column("Module", ".spec.moduleRef.name", "The CurationModule that the job runs.", wide=True),
            Column("Message", ".status.message", "One sentence for a person.", wide=True),
        ),
        categories=("all", "curation"),
        selectable=(".status.phase",),
        limited_name=True,
    ),
    Kind(
        CurationModule,
        "curationmodules",
        "cmod",
        (
            *_READY,
            Column("Size", ".status.sizeBytes", "Size of the WebAssembly bytes.", "integer"),
            _AGE,
            Column("Digest", ".status.digest", "Digest of the WebAssembly bytes.", wide=True),
            _READY_MESSAGE,
        ),
        limited_name=True,
    ),
    Kind(CurationPolicy, "curationpolicies", "curpol", _POLICY_COLUMNS),
    Kind(ClusterCurationPolicy, "clustercurationpolicies", "ccurpol", _POLICY_COLUMNS, namespaced=False),
    Kind(
        CurationApproval,
        "curationapprovals",
        "cappr",
        (
            Column("Decision", ".spec.decision", "Pending, Approved, Denied or Revoked."),
            Column("Scope", ".spec.scope", "How much is granted: Request, Path or Host."),
            Column("Module", ".spec.request.module", "The CurationModule whose call was denied."),
            Column("Method", ".spec.request.method", "HTTP method of the denied call."),
            Column("Host", ".spec.request.host", "Host of the denied call."),
            Column("Path", ".spec.request.path", "Path of the denied call."),
            Column("Waiting", ".status.waiting", "How many jobs wait.", "integer"),
            _AGE,
            Column("Trigger", ".spec.request.trigger", "Why the module was invoked.", wide=True),
            Column("Asked-By", ".status.requesters", "Who created, changed or resumed the jobs.", wide=True),
            Column("Jobs", ".status.jobs", "The jobs that wait.", wide=True),
            Column("Input", ".status.asked[0].input", "The beginning of the first job's input.", wide=True),
            Column("Denied", ".status.asked[0].denied", "Why the call was denied.", wide=True),
            Column("Decided-By", ".spec.decidedBy", "Who decided.", wide=True),
            Column("Comment", ".spec.comment", "What that person said to it.", wide=True),
            Column("Expires", ".status.expiresAt", "When the grant ends.", "date", wide=True),
            Column("Before", ".spec.earlier[*].decision", "What was decided before.", wide=True),
        ),
        selectable=(".spec.decision",),
    ),
)


def crds() -> tuple[dict[str, Any], ...]:
    """The five CustomResourceDefinitions, in the order of `CRD_KINDS`."""
    return tuple(crd(kind) for kind in CRD_KINDS)


def crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of one kind."""
    version: dict[str, Any] = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [column.to_wire() for column in kind.columns],
        "schema": {"openAPIV3Schema": _root(kind)},
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.crd_name, "labels": {"app.kubernetes.io/part-of": "curation-operator"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short_name],
                "categories": list(kind.categories),
            },
            "versions": [version],
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes what is used twice twice: a reader of a CRD is not to follow `*id001`."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def crd_yaml(document: dict[str, Any]) -> str:
    """One CRD as YAML, the same text for the same models."""
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=True, width=120, allow_unicode=True)
    assert isinstance(text, str)
    return text


def _root(kind: Kind) -> Schema:
    metadata: Schema = {"type": "object"}  # the server refuses a description here: it has its own
    root: Schema = {
        "type": "object",
        "description": " ".join((kind.model.__doc__ or "").split()),
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": _API_VERSION_TEXT},
            "kind": {"type": "string", "description": _KIND_TEXT},
            "metadata": metadata,
            "spec": _field(kind, "spec", defaults=True),
            "status": _status(kind),
        },
    }
    if kind.limited_name:
        metadata["properties"] = {
            "name": {"type": "string", "description": f"Name of the object, at most {MAX_JOB_NAME} characters."}
        }
        root["x-kubernetes-validations"] = [
            cel(
                f"size(self.metadata.name) <= {MAX_JOB_NAME}",
                f"metadata.name must be at most {MAX_JOB_NAME} characters, since it becomes a label and a part of other"
                " names; choose a shorter one",
                fieldPath=".metadata.name",
                reason="FieldValueInvalid",
            )
        ]
    return root


def _status(kind: Kind) -> Schema:
    """The status, which shows ``observedGeneration: -1`` from the object's creation on.

    The server drops a status that a creation sends, and defaults fields only within objects that are there: so the
    status itself has the default, which is filled in at each read of what is stored. kstatus then sees an
    observedGeneration that is not the generation, and never takes a fresh object for Current.

    It is atomic: only the operator writes it, and the owner of each of its values, which the API server would keep and
    compare at every write, is of use to nobody.
    """
    status = _field(kind, "status", defaults=False)
    status["x-kubernetes-map-type"] = "atomic"
    observed = status["properties"]["observedGeneration"]
    observed["default"] = kind.model.model_fields["status"].get_default().observed_generation
    status["default"] = {"observedGeneration": observed["default"]}
    return status


def _field(kind: Kind, name: str, *, defaults: bool) -> Schema:
    field = kind.model.model_fields[name]
    model = field.annotation
    if not (isinstance(model, type) and issubclass(model, Model)):
        raise TypeError(f"{kind.name}.{name} must be a model")
    return {**structural_schema(model, defaults=defaults), "description": field.description}
