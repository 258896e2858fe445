"""The parts of guests in pods, put together: what they do while this process does not lead."""

from pathlib import Path

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
