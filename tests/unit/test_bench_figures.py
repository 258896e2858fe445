"""The arithmetic of the benchmarks that compare counts, kinds and times."""

import pytest

from bench import batch_job, growth, soak
from bench.batch_job import OURS
from bench.compare import KINDS, PROGRAMS, with_sums
from bench.others import ARGO, THEIRS
from bench.results import Result
from bench.yardstick import yardstick


def values(results: list[Result]) -> dict[str, float]:
    return {result.name: result.value for result in results}


def test_a_slope_is_that_of_the_line_through_the_samples() -> None:
    assert soak.slope([0, 10, 20], [5, 5, 5]) == 0
    assert soak.slope([0, 10, 20, 30], [1, 3, 5, 7]) == pytest.approx(0.2)
    assert soak.slope([100, 110, 120], [1, 9, 1]) == pytest.approx(0)


def test_a_soak_leaves_out_its_first_third_and_says_what_creeps_up_in_an_hour() -> None:
    series = soak.Series()
    for number in range(30):
        series.at.append(10.0 * number)
        series.memory.append(100 + 0.1 * max(0, number - 10) if number >= 10 else 50 + 5 * number)
        series.children.append(200)
        series.descriptors.append(40)
        series.finished.append(20 * number)
        series.cpu.append(number * 0.5)
    found = values(soak.results(series, 0))
    assert found["memory of the operator's process: slope"] == pytest.approx(36)
    assert found["memory of its children: slope"] == 0
    assert found["descriptors of the operator's process: slope"] == 0
    assert found["all our processes: CPU ms per job"] == pytest.approx(25)
    assert found["CPU per job: second half, of the first"] == pytest.approx(1)
    with pytest.raises(ValueError, match="give more --minutes"):
        soak.results(soak.Series(*([0.0] * 5 for _ in range(6))), 0)


def test_growth_is_the_median_of_the_ratios_of_each_round() -> None:
    def sample(cost: float) -> dict[str, float]:
        return with_sums({f"{kind}: {program}": cost for kind in KINDS for program in PROGRAMS})

    rounds = [[sample(10), sample(11)], [sample(40), sample(42)], [sample(10), sample(13)]]
    found = values(growth.results((1000, 50_000), rounds))
    assert found["session: among 50000 jobs, of among 1000"] == pytest.approx(1.1)
    assert found["session: among 50000 jobs, of among 1000: spread"] == pytest.approx(0.25)
    assert found["no session: operator, among 1000 jobs"] == 10


def test_a_job_is_compared_with_a_batch_job_of_the_same_round() -> None:
    def sample(cpu: float, writes: float) -> dict[str, float]:
        return {"whole system: CPU ms per job": cpu, "writes per job": writes, "jobs a second": 10}

    found = values(batch_job.results([{OURS: sample(6, 4), THEIRS: sample(10, 10)} for _ in range(3)]))
    assert found["whole system: CPU per job, of a batch/v1 Job's"] == pytest.approx(0.6)
    assert found["writes per job, of a batch/v1 Job's"] == pytest.approx(0.4)
    assert not [name for name in found if "Argo" in name]
    rounds = [{OURS: sample(6, 4), THEIRS: sample(10, 10), ARGO: sample(20 + more, 16)} for more in (0, 0, 10)]
    found = values(batch_job.results(rounds))
    assert found["whole system: CPU per job, of a batch/v1 Job's"] == pytest.approx(0.6)
    assert found["whole system: CPU per job: spread"] == pytest.approx(0)
    assert found["whole system: CPU per job, of an Argo Workflow's"] == pytest.approx(0.3)
    assert found["whole system: CPU per job, of an Argo Workflow's: spread"] == pytest.approx(0.1)
    assert found["Argo Workflow: writes per job"] == 16


def test_the_writes_that_have_succeeded_are_read_from_the_metrics_of_the_api_server() -> None:
    lines = [
        'apiserver_request_total{code="201",component="apiserver",group="",resource="pods",verb="POST"} 7',
        'apiserver_request_total{code="200",resource="pods",subresource="status",verb="PATCH"} 14',
        'apiserver_request_total{code="409",component="apiserver",resource="pods",subresource="status",verb="PUT"} 3',
        'apiserver_request_total{code="200",component="apiserver",resource="pods",verb="LIST"} 100',
        'apiserver_request_duration_seconds_count{code="200",resource="pods",verb="PUT"} 5',
        'apiserver_request_total{code="200",component="apiserver",resource="leases",verb="PUT"} 9',
    ]
    assert batch_job._WRITE.findall("\n".join(lines)) == [("pods", "7"), ("pods", "14"), ("leases", "9")]


def test_the_yardstick_takes_processor_time_that_can_be_measured() -> None:
    assert yardstick() > 0.0005
