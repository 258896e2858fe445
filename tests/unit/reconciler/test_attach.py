"""A run that outlives the process which started it: another one finds it alive, and hears its end."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from curation.api.digest import template_digest
from curation.cluster.answers import WriteAnswer, Written
from curation.cluster.resources import JOBS, MODULES
from curation.execution.seam import Ended, ExecutionRequest, Held, Lost, Sink, Word
from curation.lifecycle.outcome import Calls, Liveness, Report, SessionRef, SessionSpawned, Trigger
from curation.reconciler.approvals.asking import Approvals
from curation.reconciler.approvals.grants import Grants
from curation.reconciler.jobs import orders
from curation.reconciler.jobs.reconciler import JobReconciler
from curation.reconciler.jobs.runs import ATTACH_AGAIN_SECONDS
from curation.reconciler.runtime.job_index import JobIndex
from curation.reconciler.runtime.key import Key
from tests.unit.reconciler.disconnected import (
    Rig,
    carried,
    disconnected,
    document,
    job,
    key,
    module_key,
    put_module,
    run_status,
)
from tests.unit.reconciler.virtual_time import in_virtual_time

RUN = "uid-job.g1.a1"
EXECUTION = f"{RUN}/Submit/1"
STATUS = {**run_status("Submitted", holder="elsewhere"), "templateDigest": template_digest(job().spec)}


class Elsewhere:
    """Executions that no process of the operator holds."""

    def __init__(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rig = rig
        self.sinks: dict[str, Sink] = {}
        self.stopped: list[str] = []
        self.settled: list[str] = []
        self.written: list[Any] = []
        monkeypatch.setattr(rig.executor, "liveness", self._liveness)
        monkeypatch.setattr(rig.executor, "attach", self._attach)
        monkeypatch.setattr(rig.executor, "stop", lambda execution, why: self.stopped.append(execution))
        monkeypatch.setattr(rig.executor, "settled", self.settled.append)
        monkeypatch.setattr(rig.context, "write_status", self._write_status)
        rig.context.caches[JOBS].listen(rig.runs.on_change)
        approvals = Approvals(rig.context, Grants(rig.context, JobIndex(rig.context.metrics)))
        self.jobs: JobReconciler = rig.jobs(approvals)

    def _liveness(self, held: Held) -> Liveness:
        assert (held.execution, held.own) == (EXECUTION, False)
        return Liveness.ALIVE

    def _attach(self, request: ExecutionRequest, sink: Sink) -> None:
        assert request.execution not in self.sinks, "it is listened to already"
        self.sinks[request.execution] = sink

    async def _write_status(self, _key: Key, version: int, _old: object, new: Any) -> WriteAnswer:
        self.written.append(new)
        return Written(document(version=version + 1, status=new))

    async def work(self) -> None:
        await carried(self.rig.context, self.jobs.reconcile)(key())

    def say(self, word: Word) -> None:
        self.sinks[EXECUTION](EXECUTION, word)


@in_virtual_time
async def test_the_outcome_of_a_run_that_outlives_its_process_is_applied_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path, max_concurrent_runs=1) as rig:
        await put_module(rig)
        elsewhere = Elsewhere(rig, monkeypatch)
        rig.context.caches[JOBS].put(document(status=STATUS))
        await elsewhere.work()
        await elsewhere.work()
        assert list(elsewhere.sinks) == [EXECUTION]
        assert elsewhere.written == [], "it is neither abandoned nor started anew"
        assert rig.runs.reserve(key("another")), "it takes no slot of this process"
        found = job(status=STATUS)
        assert found.status.run is not None
        order = orders.submit(key(), found, found.status.run)
        elsewhere.say(Ended(Report(Trigger.SUBMIT, order.run, SessionSpawned(SessionRef("s-1")), Calls(1, 1, 1))))
        assert not rig.runs.reserve(key("third")), "nor gives one back"
        await elsewhere.work()
        assert [each["phase"] for each in elsewhere.written] == ["Running"]
        assert elsewhere.settled == [EXECUTION]


@in_virtual_time
async def test_a_run_in_a_pod_that_outlives_its_process_holds_a_slot_of_the_next_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path, max_concurrent_runs=1) as rig:
        await put_module(rig)
        elsewhere = Elsewhere(rig, monkeypatch)
        rig.context.caches[JOBS].put(document(status=STATUS, spec={"executor": {"type": "Job"}}))
        await elsewhere.work()
        assert list(elsewhere.sinks) == [EXECUTION]
        assert not rig.runs.reserve(key("another")), "a namespace may have so many pods, whoever leads"
        elsewhere.say(Lost("its node is gone"))
        assert rig.runs.reserve(key("another"))


@in_virtual_time
async def test_a_run_that_turns_out_to_be_lost_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with disconnected(tmp_path) as rig:
        await put_module(rig)
        elsewhere = Elsewhere(rig, monkeypatch)
        rig.context.caches[JOBS].put(document(status=STATUS))
        await elsewhere.work()
        elsewhere.say(Lost("its node is gone"))
        await elsewhere.work()
        (written,) = elsewhere.written
        assert (written["phase"], written["reason"]) == ("Queued", "Backoff")
        assert [entry["id"] for entry in written["abandonedRuns"]] == [RUN], "it may have made a session"


@pytest.mark.parametrize("when", ["before it was listened to", "after"])
@in_virtual_time
async def test_a_run_elsewhere_that_is_superseded_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    async with disconnected(tmp_path) as rig:
        await put_module(rig)
        elsewhere = Elsewhere(rig, monkeypatch)
        edited = document(version=6, status=STATUS, spec={"rerun": "2"}, metadata={"generation": 2})
        edited["metadata"]["resourceVersion"] = "6"
        rig.context.caches[JOBS].put(document(status=STATUS))
        if when == "after":
            await elsewhere.work()
            assert elsewhere.stopped == []
            rig.context.caches[JOBS].put(edited)
        else:
            rig.context.caches[JOBS].put(edited)
            await elsewhere.work()
        assert elsewhere.stopped == [EXECUTION]


@in_virtual_time
async def test_a_run_elsewhere_is_listened_to_once_its_module_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        elsewhere = Elsewhere(rig, monkeypatch)
        metadata = {"name": "m", "namespace": "ns", "uid": "u", "resourceVersion": "1", "generation": 1}
        spec = {"source": {"builtin": "build-session-message-v1"}}
        rig.context.caches[MODULES].put({"metadata": metadata, "spec": spec})
        rig.context.caches[JOBS].put(document(status=STATUS))
        await elsewhere.work()
        assert elsewhere.sinks == {}
        await rig.modules.load(module_key())
        meanwhile = rig.taken()  # the load may take longer than the time to try again
        await asyncio.sleep(ATTACH_AGAIN_SECONDS)
        assert key() in (*meanwhile, *rig.taken())
        await elsewhere.work()
        assert list(elsewhere.sinks) == [EXECUTION]
        assert elsewhere.written == []


@in_virtual_time
async def test_a_run_elsewhere_whose_module_is_gone_is_tried_again_and_may_have_made_a_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        elsewhere = Elsewhere(rig, monkeypatch)
        rig.context.caches[JOBS].put(document(status=STATUS))
        await elsewhere.work()
        await elsewhere.work()
        assert elsewhere.sinks == {}
        (written,) = elsewhere.written
        assert [entry["id"] for entry in written["abandonedRuns"]] == [RUN]
        assert elsewhere.settled == [EXECUTION]
