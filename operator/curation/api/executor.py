"""Where a job's guest runs: beside its namespace's worker, or in a pod of a batch/v1 Job (docs/executors.md)."""

from enum import StrEnum
from typing import Annotated, ClassVar, Final

from pydantic import Field

from curation.api.references import NAME_MESSAGE, NAME_PATTERN
from curation.api.schema import Model, cel, extension, spelled

MAX_TOLERATIONS: Final = 16
MAX_SELECTORS: Final = 16

_SUBDOMAIN: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*"
_LABEL_KEY: Final = rf"^({_SUBDOMAIN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$"
_LABEL_VALUE: Final = r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"

LabelKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=317,
        pattern=_LABEL_KEY,
        json_schema_extra=spelled("must be the key of a label or taint, such as example.com/pool"),
    ),
]
LabelValue = Annotated[
    str,
    Field(
        max_length=63,
        pattern=_LABEL_VALUE,
        json_schema_extra=spelled(
            "must be the value of a label or taint: at most 63 letters, digits, '-', '_' and '.'"
        ),
    ),
]
ClassName = Annotated[
    str, Field(min_length=1, max_length=253, pattern=NAME_PATTERN, json_schema_extra=spelled(NAME_MESSAGE))
]


class ExecutorType(StrEnum):
    """What runs the guest of a Submit run."""

    IN_PROCESS = "InProcess"
    JOB = "Job"


class TolerationOperator(StrEnum):
    """How a toleration matches a taint."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Model):
    """A toleration of the guest pod, as in the spec of every pod."""

    model_config: ClassVar = {
        "json_schema_extra": extension(
            cel(
                "has(self.key) || self.operator == 'Exists'",
                "a toleration without a key needs the operator Exists",
                fieldPath=".operator",
            ),
            cel(
                "self.operator != 'Exists' || !has(self.value) || self.value == ''",
                "the operator Exists takes no value: leave value out, or set operator to Equal",
                fieldPath=".value",
            ),
            cel(
                "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                "tolerationSeconds is for the effect NoExecute: set effect, or leave tolerationSeconds out",
                fieldPath=".tolerationSeconds",
            ),
        )
    }

    key: LabelKey | None = None
    """The taint's key. Left out with the operator Exists: all taints."""
    operator: TolerationOperator = TolerationOperator.EQUAL
    """Equal compares the value; Exists takes any."""
    value: LabelValue | None = None
    """The taint's value."""
    effect: TaintEffect | None = None
    """The taint's effect. Left out: all effects."""
    toleration_seconds: Annotated[int, Field(ge=0, le=86_400)] | None = None
    """For the effect NoExecute: how long the pod stays on a node that gets the taint."""


class GuestJob(Model):
    """What the batch/v1 Job of a run, and its pod, are given beside what the operator sets."""

    node_selector: Annotated[
        dict[str, LabelValue],
        Field(
            max_length=MAX_SELECTORS,
            json_schema_extra=extension(
                cel(
                    f"self.all(k, size(k) <= 317 && k.matches(r'{_LABEL_KEY}'))",
                    "each key must be the key of a label, such as kubernetes.io/arch",
                ),
                map_type="atomic",
            ),
        ),
    ] = Field(default={})
    """Labels that the pod's node must have."""
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=MAX_TOLERATIONS)] = ()
    """Taints of nodes that the pod tolerates."""
    priority_class_name: (
        Annotated[
            ClassName,
            Field(
                json_schema_extra=extension(
                    cel("!self.startsWith('system-')", "classes of the system are not for guests: name another one")
                )
            ),
        ]
        | None
    ) = None
    """The PriorityClass of the pod."""
    runtime_class_name: ClassName | None = None
    """The RuntimeClass of the pod, for one with stronger walls such as gVisor or Kata."""


class Executor(Model):
    """Where the guest of a Submit run runs. Observe and Cancel always run beside the worker."""

    model_config: ClassVar = {
        "json_schema_extra": extension(
            cel(
                "!has(self.job) || self.type == 'Job'",
                "job is for the type Job: set type to Job, or leave job out",
                fieldPath=".job",
            )
        )
    }

    type: ExecutorType = ExecutorType.IN_PROCESS
    """InProcess: beside the worker of its namespace. Job: in a pod, which the operator must be able to make."""
    job: GuestJob | None = None
    """For the type Job: what its pod is given."""

    @property
    def in_pod(self) -> bool:
        """Whether it runs in a pod."""
        return self.type is ExecutorType.JOB
