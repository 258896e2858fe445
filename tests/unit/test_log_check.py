"""What the harness asks of each log line about a run or a job."""

from typing import Any

import pytest

from tests.harness.log_check import LogLine, unlabelled

RUN = "0ccff2ef-9390-428c-9e2f-ca7481e732a3.g3.a2"
FIELDS: LogLine = {"job": "demo/report-0", "run_id": RUN, "generation": 3, "attempt": 2}


def line(message: str, logger: str = "curation.reconciler.jobs.reconciler", **fields: Any) -> LogLine:
    return {"logger": logger, "message": message, **fields}


@pytest.mark.parametrize(
    "fits",
    [
        line(f"launching run {RUN}", **FIELDS),
        line("the answer to a status write was lost", **FIELDS),
        line("working as me/1", holder="me/1"),
        line("the API server refuses to write this job", job="demo/report-0"),
        line("reconciling CurationJob demo/report-0 is tried again: 500", job="demo/report-0"),
        line("reconciling CurationModule demo/fetch is tried again: 500"),
        line(f"kopf says {RUN}", logger="kopf"),
        {"message": f"no JSON, such as a traceback: {RUN}"},
    ],
)
def test_a_line_with_all_fields_or_about_no_run_is_good(fits: LogLine) -> None:
    assert unlabelled([fits]) == []


@pytest.mark.parametrize(
    ("message", "missing"),
    [
        *((f"launching run {RUN}", field) for field in FIELDS),
        *(("the answer to a status write was lost", field) for field in FIELDS if field != "run_id"),
    ],
)
def test_a_line_about_a_run_without_one_of_its_fields_is_found(message: str, missing: str) -> None:
    fields = {name: value for name, value in FIELDS.items() if name != missing}
    assert len(unlabelled([line(message, **fields)])) == 1


def test_a_line_with_the_numbers_of_another_run_is_found() -> None:
    assert len(unlabelled([line(f"launching run {RUN}", **{**FIELDS, "attempt": 1})])) == 1


@pytest.mark.parametrize("fields", [{}, {"job": "demo/report-1"}])
def test_a_line_about_a_job_without_its_field_or_with_that_of_another_is_found(fields: LogLine) -> None:
    assert len(unlabelled([line("CurationJob demo/report-0 could not be read anew", **fields)])) == 1
