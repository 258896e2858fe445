"""Who knocks at the door: whose token it is, whether the pod is of the run's own Job, and whether it is the first."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from curation.api.job import RunPod
from curation.cluster.answers import Created, Creation, Document, Refused, Unknown, Unreachable
from curation.execution.seam import ExecutionRequest
from curation.lifecycle.outcome import RunKey
from curation.pods.manifest import AUDIENCE
from curation.pods.seam import Admitted, Knock, Turned
from curation.reconciler.pods.doorkeeper import JUDGE_SECONDS, WAITING_AT_MOST, PodDoorkeeper
from curation.reconciler.pods.seen import SeenPod
from curation.reconciler.runtime.key import Key
from tests.unit.reconciler.test_guest_pods_keeper import EXECUTION, REQUEST
from tests.unit.reconciler.virtual_time import in_virtual_time

ACCOUNT = "system:serviceaccount:guests:curation-guest"
KNOCK = Knock(EXECUTION, "a-token")


def reviewed(**changes: Any) -> Creation:
    extra = {"authentication.kubernetes.io/pod-name": ["pod-1"], "authentication.kubernetes.io/pod-uid": ["uid-1"]}
    user = {"username": ACCOUNT, "extra": extra, **changes.pop("user", {})}
    return Created({"status": {"authenticated": True, "audiences": [AUDIENCE], "user": user, **changes}})


@dataclass
class Stage:
    """Everything that a doorkeeper asks."""

    answer: Creation = field(default_factory=reviewed)
    pod: SeenPod | None = field(default_factory=lambda: SeenPod("pod-1", "uid-1", "job-1", node="n", phase="Running"))
    refusal: str = ""
    leads: bool = True
    is_awaited: bool = True
    synced: bool = True
    job_is_there: bool = True
    reviews: list[Document] = field(default_factory=list)
    bound_to: list[RunPod] = field(default_factory=list)
    order: list[str] = field(default_factory=list)
    hangs: bool = False

    async def create(self, kind: object, namespace: object, body: Document) -> Creation:
        self.reviews.append(body)
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        return self.answer

    def awaited(self, execution: str) -> tuple[ExecutionRequest, str] | None:
        return (REQUEST, "job-1") if execution == EXECUTION and self.is_awaited else None

    def has_job(self, execution: str) -> bool:
        return self.job_is_there

    def bound(self, execution: str, pod: RunPod) -> None:
        self.order.append("kept")

    async def find_pod(self, name: str) -> SeenPod | None:
        return self.pod

    async def bind(self, key: Key, run: RunKey, pod: RunPod) -> str:
        self.order.append("written")
        self.bound_to.append(pod)
        return self.refusal

    def doorkeeper(self) -> PodDoorkeeper:
        return PodDoorkeeper(self, self, self, self.bind, "guests", lambda: self.leads)  # type: ignore[arg-type]

    async def judge(self, knock: Knock = KNOCK) -> Admitted | Turned:
        return await self.doorkeeper().judge(knock)


async def test_the_pod_of_the_run_s_own_job_is_let_in_once_that_is_written_down() -> None:
    it = Stage()
    assert await it.judge() == Admitted("pod-1")
    assert it.order == ["written", "kept"]
    assert it.bound_to == [RunPod(name="pod-1", uid="uid-1", job_uid="job-1", node="n")]
    assert it.reviews[0]["spec"] == {"token": "a-token", "audiences": [AUDIENCE]}


@pytest.mark.parametrize(
    ("stage", "final"),
    [
        (Stage(leads=False), False),
        (Stage(is_awaited=False), False),
        (Stage(is_awaited=False, synced=False, job_is_there=False), False),
        (Stage(is_awaited=False, job_is_there=False), True),
    ],
    ids=["does not lead", "not awaited yet", "not read yet", "no such execution"],
)
async def test_whoever_names_no_execution_of_here_is_turned_away_without_a_question(stage: Stage, final: bool) -> None:
    turned = await stage.judge()
    assert isinstance(turned, Turned)
    assert turned.final is final
    assert stage.reviews == []


@pytest.mark.parametrize(
    ("answer", "final"),
    [
        (reviewed(authenticated=False), False),
        (reviewed(audiences=["https://kubernetes.default.svc"]), False),
        (reviewed(audiences=None), False),
        (reviewed(user={"username": "system:serviceaccount:other:curation-guest"}), True),
        (reviewed(user={"username": "admin"}), True),
        (reviewed(user={"extra": {}}), True),
        (reviewed(user={"extra": None}), True),
        (Refused(403, "Forbidden", "no"), False),
        (Unknown("no answer"), False),
        (Created({}), False),
    ],
)
async def test_a_token_that_is_none_of_a_guest_s_pod_binds_nothing(answer: Creation, final: bool) -> None:
    it = Stage(answer=answer)
    turned = await it.judge()
    assert isinstance(turned, Turned)
    assert turned.final is final
    assert it.bound_to == []


@pytest.mark.parametrize(
    "pod",
    [
        None,
        SeenPod("pod-1", "another", "job-1"),
        SeenPod("pod-1", "uid-1", "job-2"),
        SeenPod("pod-1", "uid-1", ""),
        SeenPod("pod-1", "uid-1", "job-1", deleted=True),
        SeenPod("pod-1", "uid-1", "job-1", phase="Failed"),
    ],
)
async def test_a_pod_that_is_not_the_run_s_own_or_that_ends_is_turned_away_for_good(pod: SeenPod | None) -> None:
    it = Stage(pod=pod)
    turned = await it.judge()
    assert isinstance(turned, Turned)
    assert turned.final
    assert it.bound_to == []


async def test_a_second_pod_is_turned_away_for_good_and_a_failed_question_is_not_for_good() -> None:
    assert await Stage(refusal="the run is bound to another pod, pod-0").judge() == Turned(
        "the run is bound to another pod, pod-0", True
    )
    it = Stage()

    async def find_pod(name: str) -> SeenPod | None:
        raise Unreachable("gone")

    it.find_pod = find_pod  # type: ignore[method-assign]
    turned = await it.judge()
    assert isinstance(turned, Turned)
    assert not turned.final


@in_virtual_time
async def test_a_judgement_is_bounded_in_time_and_in_number() -> None:
    it = Stage(hangs=True)
    keeper = it.doorkeeper()
    loop = asyncio.get_running_loop()
    began = loop.time()
    asked = [asyncio.create_task(keeper.judge(KNOCK)) for _ in range(WAITING_AT_MOST + 1)]
    found = await asyncio.gather(*asked)
    assert loop.time() - began <= JUDGE_SECONDS + 1
    assert all(isinstance(each, Turned) and not each.final for each in found)
    assert any("too many" in each.why for each in found if isinstance(each, Turned))
    assert len(it.reviews) <= 8
