"""The table of watch: readable on a terminal of 80 columns."""

from datetime import UTC, datetime
from typing import Any

import pytest

from curation.api.job import CurationJob
from curation.cli.follow import HEADER, Jobs, screen_rows

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
LONG = "nightly-build-of-the-session-message-service-in-stage"
RUN = {
    "id": "u.g1.a1",
    "generation": 1,
    "attempt": 1,
    "retries": 0,
    "templateDigest": "d",
    "module": {"name": "m", "digest": "x"},
    "holder": "h",
    "submittedAt": "2030-01-01T11:54:00Z",
}


def _job(name: str, phase: str, message: str, **status: Any) -> CurationJob:
    return CurationJob.model_validate(
        {
            "metadata": {"name": name, "namespace": "demo", "uid": "u", "generation": 1},
            "spec": {"moduleRef": {"name": "m"}},
            "status": {
                "observedGeneration": 1,
                "phase": phase,
                "phaseSince": "2030-01-01T11:55:00Z",
                "reason": "Denied" if phase == "AwaitingApproval" else "SessionSpawned",
                "message": message,
                "run": RUN,
                **status,
            },
        }
    )


def _session(**more: Any) -> dict[str, Any]:
    return {"id": "s-0123456789abcdef", "runID": "u.g1.a1", "spawnedAt": "2030-01-01T11:55:00Z", **more}


def _jobs(*jobs: CurationJob) -> Jobs:
    return {(job.metadata.namespace, job.metadata.name): job for job in jobs}


MANY = _jobs(
    _job("a", "AwaitingApproval", "POST https://sessions.example:443/sessions was denied. Waits."),
    _job(LONG, "Running", "Session s-0123456789abcdef runs, started by attempt 1.", session=_session()),
)


@pytest.mark.parametrize("namespaces", [False, True])
@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_name_and_phase_are_whole_at_any_width_and_lines_fit_where_these_do(width: int, namespaces: bool) -> None:
    header, *rows = screen_rows(MANY, NOW, namespaces, width)
    assert [row[header.index("NAME")] for row in rows] == ["a", LONG]
    assert [row[header.index("PHASE")] for row in rows] == ["AwaitingApproval", "Running"]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    if width >= 80 + 10 * namespaces:
        assert sum(widths) + len(widths) - 1 <= width


def test_at_eighty_columns_short_names_leave_room_for_a_message_and_wide_terminals_show_all() -> None:
    jobs = _jobs(_job("build", "AwaitingApproval", "POST https://sessions.example:443/sessions was denied."))
    header, row = screen_rows(jobs, NOW, False, 80)
    assert header[-1] == "MESSAGE"
    assert len(row[-1]) >= 24
    assert row[-1].startswith("POST https://sessions.ex")
    assert tuple(screen_rows(jobs, NOW, False, 200)[0]) == HEADER


@pytest.mark.parametrize(
    ("session", "expected"),
    [
        (_session(), ""),
        (_session(url="https://s.example/1"), "https://s.example/1"),
        (_session(url="https://s.example/1", progress={"done": 3, "of": 7}), '{"done": 3, "of": 7}'),
    ],
)
def test_the_message_of_a_running_job_shows_what_its_session_column_does_not(session: Any, expected: str) -> None:
    jobs = _jobs(_job("build", "Running", "Session s-0123456789abcdef runs, started by attempt 1.", session=session))
    _, row = screen_rows(jobs, NOW, False, 200)
    assert row[4] == "s-0123456789abcdef"
    assert row[-1] == expected
