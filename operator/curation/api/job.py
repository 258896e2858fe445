"""CurationJob: asks a module to start an agent session and follows that session to its end."""

from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from curation.api.approval import EvaluatedRequest
from curation.api.excess import EXCESS_FIELD, Excess
from curation.api.executor import Executor
from curation.api.names import MAX_LOG_BYTES, Phase, RunOutcome
from curation.api.references import NAME_MESSAGE, NAME_PATTERN, ConfigFrom, Frozen, InputFrom, ObjectName
from curation.api.schema import Condition, JsonObject, MicroTime, Model, ResourceModel, cel, extension, spelled

MAX_INPUT_BYTES = 64 * 1024
MAX_CONFIG_BYTES = 4 * 1024
MAX_OUTPUT_BYTES = 32 * 1024
MAX_ABANDONED_RUNS = 20
MAX_HISTORY = 5
MAX_MESSAGE = 4096
MAX_ATTEMPT = 2_000_000_000

_DAY = 86_400
_INTERVAL = 10
_LONGEST = 60
_DIGEST_MESSAGE = "must be sha256: and 64 hexadecimal digits in lower case, as sha256sum prints them"

Name = Annotated[str, Field(min_length=1, max_length=52, pattern=NAME_PATTERN, json_schema_extra=spelled(NAME_MESSAGE))]
Digest = Annotated[
    str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71, json_schema_extra=spelled(_DIGEST_MESSAGE))
]
# It is read back: a Cancel of the run says its generation and attempt.
RunID = Annotated[str, Field(max_length=128, pattern=r"^[^ /]+\.g[0-9]{1,19}\.a[0-9]{1,10}$")]
Config = Annotated[
    dict[str, Annotated[str, Field(max_length=MAX_CONFIG_BYTES)]],
    Field(
        max_length=64,
        json_schema_extra=extension(
            cel(
                f"self.map(k, size(bytes(k)) + size(bytes(self[k]))).sum() <= {MAX_CONFIG_BYTES}",
                f"all keys and values together must be at most {MAX_CONFIG_BYTES} bytes; put larger data in input",
            ),
            map_type="atomic",
        ),
    ),
]


class OnDenied(StrEnum):
    """What a denial that failed the run means for the job."""

    AWAIT_APPROVAL = "AwaitApproval"
    FAIL = "Fail"


class ModuleReference(Model):
    """Names a CurationModule in the job's own namespace."""

    name: Name
    """Name of the CurationModule, in the namespace of the job."""


class Retry(Model):
    """Automatic retries of failed runs; only of the classes Timeout, HTTPUnavailable and ModuleUnavailable.

    A run that was Interrupted is retried too, and counts only if a limit of its worker has ended three in a row.
    """

    limit: Annotated[int, Field(ge=0, le=20)] = 3
    """How many automatic retries one template may have. 0 turns them off."""
    initial_delay_seconds: Annotated[int, Field(ge=1, le=3600)] = 1
    """Upper bound of the first delay, in seconds. Each further one doubles; the delay is drawn from zero to it."""
    max_delay_seconds: Annotated[int, Field(ge=1, le=_DAY)] = 300
    """Upper bound of every delay, in seconds."""


class Timeouts(Model):
    """How long a job may stay in a phase, in seconds from status.phaseSince. One that is left out is no limit."""

    submitted_seconds: Annotated[int, Field(ge=1, le=7 * _DAY)] = 900
    """Longest time in Submitted, in seconds; then the job is Failed with reason DeadlineExceeded."""
    running_seconds: Annotated[int, Field(ge=1, le=90 * _DAY)] = 7200
    """Longest time in Running, in seconds; then the job is Failed with reason DeadlineExceeded."""
    queued_seconds: Annotated[int, Field(ge=1, le=90 * _DAY)] | None = None
    """Longest time in Queued, in seconds, not counting suspension, backoff and waiting for clean-up."""
    approval_seconds: Annotated[int, Field(ge=1, le=90 * _DAY)] | None = None
    """Longest time in AwaitingApproval, in seconds; then the job is Failed with reason ApprovalTimeout."""


class Observe(Model):
    """How often the session of a Running job is observed: ever more rarely while nothing changes."""

    interval_seconds: Annotated[int, Field(ge=1, le=3600)] = _INTERVAL
    """Seconds from one observation to the next after something has changed, with jitter."""
    max_interval_seconds: Annotated[int, Field(ge=1, le=3600)] = _LONGEST
    """The interval doubles up to this while nothing changes, in seconds. With the value of the other it never grows."""


class JobSpec(Model):
    """What to run (the template: moduleRef, input, inputFrom, config, configFrom, executor, rerun) and how to treat it
    (the controls: all the rest)."""

    model_config: ClassVar = {
        "json_schema_extra": extension(
            cel(
                "!has(self.retry) || self.retry.initialDelaySeconds <= self.retry.maxDelaySeconds",
                "retry.initialDelaySeconds must not exceed retry.maxDelaySeconds: raise maxDelaySeconds or lower it",
                fieldPath=".retry.initialDelaySeconds",
            ),
            # The schema of input names no fields: as a plain value it would be an empty object here.
            cel(
                "!has(self.inputFrom) || !has(self.input) || size(dyn(self.input)) == 0",
                "inputFrom and input are both set: keep one of them",
                fieldPath=".inputFrom",
            ),
            cel(
                "!has(self.observe) || self.observe.intervalSeconds <= self.observe.maxIntervalSeconds",
                "observe.intervalSeconds must not exceed observe.maxIntervalSeconds: raise maxIntervalSeconds or lower"
                " it",
                fieldPath=".observe.intervalSeconds",
            ),
            cel(
                "!has(self.observeIntervalSeconds) || !has(self.observe)"
                f" || (self.observe.intervalSeconds == {_INTERVAL} && self.observe.maxIntervalSeconds == {_LONGEST})"
                " || (self.observe.intervalSeconds == self.observeIntervalSeconds"
                " && self.observe.maxIntervalSeconds == self.observeIntervalSeconds)",
                "is deprecated and means both fields of observe: set observeIntervalSeconds to null, and keep observe",
                fieldPath=".observeIntervalSeconds",
            ),
        )
    }

    module_ref: ModuleReference
    """Template. The CurationModule to run. A change starts a new run."""
    # Not JsonValue, whose validation is recursive: a job must stay readable however deep its input is.
    input: Annotated[
        dict[str, Any],
        Field(json_schema_extra=extension(map_type="atomic", preserve_unknown_fields=True)),
    ] = Field(default={})
    """Template. Any JSON object of at most 64 KiB, given to the module without its nulls. A change starts a new run."""
    input_from: InputFrom | None = None
    """Template. Where the input is read from, in place of input, when the first run of the template is claimed. A
    change of this field starts a new run; a change of what it names does not, until rerun asks for one."""
    config: Config = Field(default={})
    """Template. Strings given to the module, such as api_url; they win over the module's. A change starts a new run."""
    config_from: ConfigFrom | None = None
    """Template. Where further strings for the module are read from, as for inputFrom; the keys of config win."""
    executor: Executor = Executor()
    """Template. Where the module's guest runs. A change starts a new run."""
    rerun: Annotated[str, Field(max_length=253)] = ""
    """Template. Any new value starts a new run: a retry that can be written in Git."""
    suspend: bool = False
    """Control. While true no run is launched; a current one is abandoned and its session cancelled."""
    on_denied: OnDenied = OnDenied.AWAIT_APPROVAL
    """Control. AwaitApproval waits for a person or a policy when a run failed on a denied call; Fail fails the job."""
    retry: Retry = Retry()
    """Control. Automatic retries of runs that failed for a passing reason."""
    timeouts: Timeouts = Timeouts()
    """Control. The longest time in each phase."""
    observe: Observe = Observe()
    """Control. How often the session of a Running job is observed."""
    observe_interval_seconds: Annotated[int, Field(ge=1, le=3600)] | None = None
    """Control. Deprecated: set observe. If it is set, it counts for both of its fields."""
    ttl_seconds_after_finished: Annotated[int, Field(ge=0, le=365 * _DAY)] | None = None
    """Control. Deletes the job this many seconds after it finished; never if left out."""

    @property
    def observation(self) -> Observe:
        """How often its session is observed, whichever field says so."""
        given = self.observe_interval_seconds
        return self.observe if given is None else Observe(interval_seconds=given, max_interval_seconds=given)


class RunModule(Model):
    """The build of a module that a run executes."""

    name: Annotated[str, Field(max_length=63)]
    """Name of the CurationModule."""
    digest: Annotated[str, Field(max_length=80)]
    """sha256 of the WebAssembly bytes."""


class RunPod(Model):
    """The one pod that may speak for a run: the first that came to the operator's door."""

    name: ObjectName
    """Name of the pod, in the namespace of guest pods."""
    uid: Annotated[str, Field(max_length=64)]
    """metadata.uid of the pod. Another one is refused, whatever its name."""
    job_uid: Annotated[str, Field(alias="jobUID", max_length=64)]
    """metadata.uid of the batch/v1 Job that made it."""
    node: Annotated[str, Field(max_length=253)] = ""
    """Name of the node that it runs on."""


class Run(Model):
    """One attempt: the fencing token of the job. Written before it is launched, never removed."""

    id: RunID
    """<uid of the job>.g<generation>.a<attempt>"""
    generation: Annotated[int, Field(ge=0)]
    """metadata.generation when attempt 1 of this template was claimed."""
    attempt: Annotated[int, Field(ge=1, le=MAX_ATTEMPT)]
    """1, 2, ... under that generation, for whatever cause."""
    retries: Annotated[int, Field(ge=0, le=MAX_ATTEMPT)] = 0
    """How many of the attempts were automatic retries that count."""
    interruptions: Annotated[int, Field(ge=0, le=MAX_ATTEMPT)] = 0
    """How many attempts in a row, up to this one, were Interrupted and not counted."""
    template_digest: Annotated[str, Field(max_length=80)]
    """Digest of the template that this run executes."""
    module: RunModule
    """The module build that this run executes."""
    holder: Annotated[str, Field(max_length=320)]
    """<identity of the operator>/<random per process>: the one process that executes this run."""
    config: Annotated[dict[str, str], Field(json_schema_extra=extension(map_type="atomic"))] | None = None
    """The configuration that the run was given, where it was not empty: what its Cancel needs after an edit."""
    submitted_at: MicroTime
    """When the run was claimed."""
    pod: RunPod | None = None
    """Of a run whose executor is Job: its pod, written before the first call of the run is heard."""
    spawned_at: MicroTime | None = None
    """When the run's session was recorded."""
    finished_at: MicroTime | None = None
    """When the run, or the session that it started, ended."""
    log: Annotated[str, Field(max_length=MAX_LOG_BYTES)] | None = None
    """Of a failed run: the module's last 20 lines, at most 2 KiB."""


class Session(Model):
    """The one live session of a Running job."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    """The session's id at the session service."""
    url: Annotated[str, Field(max_length=2048)] | None = None
    """Where a person can look at the session."""
    run_id: Annotated[str, Field(alias="runID", max_length=128)]
    """The run that started it."""
    spawned_at: MicroTime
    """When it was recorded."""
    progress: (
        Annotated[JsonObject, Field(json_schema_extra=extension(map_type="atomic", preserve_unknown_fields=True))]
        | None
    ) = None
    """What the last observation reported, written at most every 30 seconds."""
    progress_at: MicroTime | None = None
    """When progress was written."""


class SessionReference(Model):
    """A session to be cancelled."""

    id: Annotated[str, Field(min_length=1, max_length=256)]
    """The session's id at the session service."""
    url: Annotated[str, Field(max_length=2048)] | None = None
    """Where a person can look at the session."""


class AbandonedRun(Model):
    """A run that was replaced or failed and may have left a session: cancelled until that is known to be done."""

    id: RunID
    """The run's id."""
    session: SessionReference | None = None
    """The session that the run started, where known; else whatever the run id has created is cancelled."""
    module: RunModule
    """The module build that is asked to cancel."""
    config: Annotated[dict[str, str], Field(json_schema_extra=extension(map_type="atomic"))] | None = None
    """The configuration of the run, where it was not empty."""
    since: MicroTime
    """When the run was abandoned. After 10 minutes of failed retries the entry leaves with an event CleanupFailed."""


class JobApproval(Model):
    """The denied request that the job waits for."""

    name: ObjectName
    """Name of the CurationApproval."""
    request_digest: Annotated[str, Field(max_length=80)]
    """sha256 of the request."""
    request: EvaluatedRequest
    """The exact request that was denied."""
    since: MicroTime
    """When it was denied."""


class HistoryEntry(Model):
    """How one of the last runs ended."""

    id: Annotated[str, Field(max_length=128)]
    """The run's id."""
    outcome: RunOutcome
    """How it ended."""
    reason: Annotated[str, Field(max_length=64)] = ""
    """One CamelCase word: why."""
    finished_at: MicroTime
    """When it ended."""


_IN_FLIGHT = frozenset({Phase.SUBMITTED, Phase.RUNNING})
_WITH_A_RUN = _IN_FLIGHT | {Phase.AWAITING_APPROVAL}


class JobStatus(Model):
    """What the operator has seen and done. Written only under the condition of a resourceVersion."""

    model_config: ClassVar = {
        "json_schema_extra": extension(
            cel(
                "!has(self.phase) || !(self.phase in ['Submitted', 'AwaitingApproval', 'Running']) || has(self.run)",
                "a job in this phase has a run: leave status to the operator",
                fieldPath=".run",
            ),
            cel(
                "!has(self.phase) || self.phase != 'Running' || has(self.session)",
                "a Running job has a session: leave status to the operator",
                fieldPath=".session",
            ),
            cel(
                f"!has(self.abandonedRuns) || size(self.abandonedRuns) < {MAX_ABANDONED_RUNS}"
                " || !has(self.phase) || !(self.phase in ['Submitted', 'Running'])",
                "a run in flight needs room among abandonedRuns: leave status to the operator",
                fieldPath=".abandonedRuns",
            ),
        )
    }

    observed_generation: int = -1
    """The last metadata.generation that the operator has acted on; -1 before the first."""
    template_digest: Annotated[str, Field(max_length=80)] = ""
    """Digest of the template that this status is about."""
    template_generation: Annotated[int, Field(ge=0)] | None = None
    """metadata.generation at which that template was first seen; a run of a lower one is of an older template."""
    phase: Phase | None = None
    """Queued, Submitted, AwaitingApproval, Running, Completed or Failed."""
    phase_since: MicroTime | None = None
    """When the job entered its phase."""
    reason: Annotated[str, Field(max_length=64)] = ""
    """One CamelCase word: why the job is in this phase."""
    message: Annotated[str, Field(max_length=MAX_MESSAGE)] = ""
    """One sentence for a person."""
    run: Run | None = None
    """The last run."""
    frozen: Frozen | None = None
    """What inputFrom and configFrom named when the first run of the template was claimed; its every run is given it."""
    session: Session | None = None
    """The session of a job that is or was Running."""
    approval: JobApproval | None = None
    """What the job waits for while AwaitingApproval."""
    retry_at: MicroTime | None = None
    """While Queued for a backoff: when the next run may start."""
    abandoned_runs: Annotated[
        tuple[AbandonedRun, ...],
        Field(max_length=MAX_ABANDONED_RUNS, json_schema_extra=extension(list_type="map", list_map_keys=["id"])),
    ] = ()
    """Runs that are not yet known to be cleaned."""
    output: (
        Annotated[JsonObject, Field(json_schema_extra=extension(map_type="atomic", preserve_unknown_fields=True))]
        | None
    ) = None
    """What the session or the module returned, at most 32 KiB."""
    history: Annotated[tuple[HistoryEntry, ...], Field(max_length=MAX_HISTORY)] = ()
    """The last 5 runs, the newest last."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(max_length=16, json_schema_extra=extension(list_type="map", list_map_keys=["type"])),
    ] = ()
    """Ready; Reconciling, Stalled and Suspended while True; Finished and Succeeded at the end; Authorized once asked.
    One that is absent is not True."""

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        """What only another hand can have written: all that follows goes by what the phase promises."""
        if self.phase in _WITH_A_RUN and self.run is None:
            raise ValueError(f"phase is {self.phase}, but there is no run")
        if self.phase is Phase.RUNNING and self.session is None:
            raise ValueError("phase is Running, but there is no session")
        if self.phase in _IN_FLIGHT and len(self.abandoned_runs) >= MAX_ABANDONED_RUNS:
            raise ValueError(f"phase is {self.phase}, but abandonedRuns has no room for its run")
        return self


class CurationJob(ResourceModel):
    """Runs a small WebAssembly module that starts an agent session, and follows that session to its end."""

    derived_status: ClassVar = frozenset({"conditions"})

    spec: JobSpec
    """What to run, and how."""
    status: JobStatus = JobStatus()
    """What the operator has seen and done."""
    excess: Annotated[Excess | None, Field(alias=EXCESS_FIELD, exclude=True)] = None
    """What of it was over its bound and is left out here. Never stored."""


def status_to_wire(status: Model) -> dict[str, Any]:
    """The status as it is written: what is empty is left out."""
    return {key: value for key, value in status.to_wire().items() if value not in ("", [])}
