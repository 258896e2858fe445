"""A stored time that no sum with a limit can be made of: the object counts as one that cannot be read."""

from datetime import timedelta
from typing import Any

import pytest

from curation.api.job import CurationJob
from curation.api.reading import Unreadable, mended, read
from curation.api.remains import remains_of
from curation.cli.known import _happening

NOW = "2026-01-01T00:00:00Z"
OTHER_AGES = ["0001-01-01T00:00:00Z", "1799-01-01T00:00:00Z", "9998-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
RUN = {
    "id": "u.g1.a1",
    "generation": 1,
    "attempt": 1,
    "templateDigest": "v1:x",
    "module": {"name": "m", "digest": "d"},
    "holder": "h",
    "submittedAt": NOW,
}


def job(**status: Any) -> dict[str, Any]:
    """A Running job with an abandoned run."""
    meta = {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "1", "generation": 1}
    known = {
        "phase": "Running",
        "phaseSince": NOW,
        "run": RUN,
        "session": {"id": "s", "runID": "u.g1.a1", "spawnedAt": NOW},
        "abandonedRuns": [{"id": "u.g1.a0", "module": {"name": "m", "digest": "d"}, "since": NOW}],
        **status,
    }
    return {"metadata": meta, "spec": {"moduleRef": {"name": "m"}}, "status": known}


@pytest.mark.parametrize("time", OTHER_AGES)
def test_a_job_with_such_a_time_cannot_be_read_and_its_sessions_are_known(time: str) -> None:
    entry = job()["status"]["abandonedRuns"][0]
    cases: dict[str, dict[str, Any]] = {
        "status.phaseSince": {"phaseSince": time},
        "status.retryAt": {"retryAt": time},
        "status.run.submittedAt": {"run": {**RUN, "submittedAt": time}},
        "status.session.spawnedAt": {"session": {"id": "s", "runID": "u.g1.a1", "spawnedAt": time}},
        "status.abandonedRuns.0.since": {"abandonedRuns": [{**entry, "since": time}]},
    }
    for field, status in cases.items():
        with pytest.raises(Unreadable) as raised:
            read(CurationJob, job(**status))
        assert raised.value.field == field
        left = remains_of({**job(**status), "metadata": {**job()["metadata"], "deletionTimestamp": NOW}})
        assert [each.id for each in left.status.abandoned_runs] == ["u.g1.a0", "u.g1.a1"]
        for each in left.status.abandoned_runs:
            assert each.since + timedelta(days=90) > each.since


@pytest.mark.parametrize("time", OTHER_AGES)
def test_of_a_condition_with_such_a_time_the_job_is_read(time: str) -> None:
    condition = {"type": "Ready", "status": "True", "reason": "R", "message": "", "lastTransitionTime": time}
    found, left_out = mended(CurationJob, job(conditions=[condition]))
    assert (found.status.conditions, left_out) == ((), {"conditions": [condition]})


@pytest.mark.parametrize("time", ["0000-01-01T00:00:00Z", "", None, "soon"])
def test_an_event_with_a_time_that_is_none_is_shown(time: str | None) -> None:
    document = {"metadata": {"creationTimestamp": NOW}, "eventTime": time, "reason": "R", "message": "m"}
    assert _happening(document).at is not None
    assert _happening({**document, "metadata": {"creationTimestamp": time}}).at is None
