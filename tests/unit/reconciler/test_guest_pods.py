"""The parts of guests in pods, put together: what they do while this process does not lead."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from curation.api.executor import GuestJob
from curation.reconciler.process.guest_pods import GuestsInPods
from curation.reconciler.runtime.settings import GuestSettings, LeaseSettings
from tests.unit.reconciler.disconnected import disconnected
from tests.unit.reconciler.test_guest_pods_keeper import REQUEST
from tests.unit.reconciler.virtual_time import in_virtual_time


@in_virtual_time
async def test_a_process_that_does_not_lead_makes_no_job_and_removes_none_in_its_place(tmp_path: Path) -> None:
    settings = GuestSettings("guests", ("door.op.svc", 9445), image="operator:1")
    lease = LeaseSettings("op", "lease")
    async with disconnected(tmp_path) as rig:
        made = GuestsInPods(rig.context, None, settings, lease, lambda: False)  # type: ignore[arg-type]
        assert await made.keeper._maker.make(REQUEST, GuestJob(), 0) == "this process does not lead any more"
        assert "certificate" in made.problem(), "of which jobs are told something else"


@in_virtual_time
async def test_while_a_certificate_or_the_door_is_missing_the_metric_says_that_runs_can_have_no_pod(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = GuestSettings("guests", ("door.op.svc", 9445), image="operator:1")
    async with disconnected(tmp_path) as rig:
        registry = rig.context.metrics.registry
        assert registry.get_sample_value("curation_guest_pods_ready") == 1, "where guest pods are off"
        made = GuestsInPods(rig.context, None, settings, LeaseSettings("op", "lease"), lambda: True)  # type: ignore[arg-type]
        executor = SimpleNamespace(waits=None, lose=None)
        made.attach(executor, rig.memories)  # type: ignore[arg-type]
        assert registry.get_sample_value("curation_guest_pods_ready") == 0
        monkeypatch.setattr(GuestsInPods, "problem", lambda self: "")
        assert registry.get_sample_value("curation_guest_pods_ready") == 0, "its door is not served"
        monkeypatch.setattr(made, "_door", SimpleNamespace(serving=True))
        assert registry.get_sample_value("curation_guest_pods_ready") == 1
