"""A run is bound to its pod by a write of its reconciler; until that has landed nobody is told that it is."""

import asyncio
from pathlib import Path

import pytest

from curation.api.job import RunPod
from curation.cluster.answers import Conflict, Document, Refused, Unknown, WriteAnswer, Written
from curation.reconciler.jobs.binding import AskedBinding, settle_binding
from curation.reconciler.jobs.orders import run_key
from tests.unit.reconciler.disconnected import Rig, disconnected, document, job, key, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time

POD = RunPod(name="guest-1", uid="pod-1", job_uid="job-1", node="node-1")
STATUS = run_status("Submitted")


def asked(pod: RunPod = POD) -> AskedBinding:
    run = job(status=STATUS).status.run
    assert run is not None
    return AskedBinding(run_key("uid-job", run), pod, asyncio.get_running_loop().create_future())


class Server:
    """Answers writes of the job's status, in order, and keeps what it was sent."""

    def __init__(self, rig: Rig, *answers: WriteAnswer) -> None:
        self._rig = rig
        self._answers = list(answers)
        self.sent: list[Document] = []
        rig.context.cache(key()).put(document(status=STATUS))

    async def patch_status(self, key: object, version: int, patch: Document) -> WriteAnswer:
        self.sent.append(patch)
        return self._answers.pop(0)

    async def refresh(self, key: object) -> bool:
        return True


def landed(version: int, pod: RunPod) -> Document:
    found: Document = document(
        version=version, status={**STATUS, "run": {**STATUS["run"], "pod": pod.to_wire()}, "message": "x"}
    )
    return found


@in_virtual_time
async def test_the_answer_comes_after_the_write_has_landed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        server, question = Server(rig, Written(landed(6, POD))), asked()
        monkeypatch.setattr(rig.context, "patch_status", server.patch_status)
        assert await settle_binding(rig.context, key(), question) is None
        assert question.answer.result() == ""
        assert server.sent[0]["run"]["pod"]["uid"] == "pod-1"


@in_virtual_time
async def test_of_two_pods_the_second_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        server = Server(rig, Written(landed(6, POD)))
        monkeypatch.setattr(rig.context, "patch_status", server.patch_status)
        first, second = asked(), asked(POD.model_copy(update={"uid": "pod-2"}))
        for each in (first, second):
            assert await settle_binding(rig.context, key(), each) is None
        assert first.answer.result() == ""
        assert "another pod" in second.answer.result()
        assert len(server.sent) == 1


@in_virtual_time
async def test_a_lost_answer_is_made_good_by_the_job_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        server, question = Server(rig, Unknown("reset")), asked()
        monkeypatch.setattr(rig.context, "patch_status", server.patch_status)

        async def refresh(_: object) -> bool:
            rig.context.cache(key()).put(landed(6, POD))
            return True

        monkeypatch.setattr(rig.context, "refresh", refresh)
        assert await settle_binding(rig.context, key(), question) is None
        assert question.answer.result() == ""


@pytest.mark.parametrize("answer", [Conflict(), Refused(403, "Forbidden", "no")], ids=["conflict", "refused"])
@in_virtual_time
async def test_what_has_not_landed_is_tried_again_and_nobody_is_let_in_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: WriteAnswer
) -> None:
    async with disconnected(tmp_path) as rig:
        server, question = Server(rig, *[answer] * 9), asked()
        monkeypatch.setattr(rig.context, "patch_status", server.patch_status)
        monkeypatch.setattr(rig.context, "refresh", server.refresh)
        assert await settle_binding(rig.context, key(), question) is not None
        assert not question.answer.done()


@in_virtual_time
async def test_nothing_is_written_for_whoever_has_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        server, question = Server(rig), asked()
        monkeypatch.setattr(rig.context, "patch_status", server.patch_status)
        question.answer.cancel()
        assert await settle_binding(rig.context, key(), question) is None
        assert server.sent == []
