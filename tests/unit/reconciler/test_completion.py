"""What follows from a completion whose write was carried out though its answer was lost."""

from pathlib import Path
from typing import Any

import pytest

from curation.cluster.answers import Unknown
from curation.cluster.mergepatch import merge_patch
from curation.cluster.resources import JOBS
from curation.lifecycle.outcome import Calls, Denied, Report, Trigger
from curation.reconciler.jobs import orders
from curation.reconciler.jobs.completion import Completion, Pending, Settled
from curation.reconciler.runtime.key import Key
from tests.unit.lifecycle.builders import request
from tests.unit.reconciler.disconnected import NAMESPACE, disconnected, document, job, key, run_status
from tests.unit.reconciler.virtual_time import in_virtual_time


@in_virtual_time
async def test_the_approval_of_a_denied_observation_is_asked_for_though_the_answer_to_the_write_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with disconnected(tmp_path) as rig:
        context = rig.context
        found = job(status=run_status("Running"))
        assert found.status.run is not None
        context.caches[JOBS].put(document(status=run_status("Running")))
        order = orders.observe(key(), found, found.status.run)
        written: list[Any] = []

        async def write_status(_key: Key, _version: int, _old: object, new: Any) -> Unknown:
            written.append(new)
            return Unknown("reset")

        async def refresh(_: Key) -> bool:
            return context.caches[JOBS].put(document(version=6, status=written[-1])) or True

        monkeypatch.setattr(context, "write_status", write_status)
        monkeypatch.setattr(context, "refresh", refresh)
        report = Report(Trigger.OBSERVE, order.run, Denied(request(), "no policy permits it"), calls=Calls())
        settled = await Completion(context).settle(key(), Pending(report, order), "")
        assert isinstance(settled, Settled)
        assert settled.verdict.ask == request()
        assert len(written) == 1
        stored = context.caches[JOBS].get(NAMESPACE, "job")
        assert stored is not None
        assert merge_patch(stored.document()["status"], written[0]) is None
