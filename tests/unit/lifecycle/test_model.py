"""I1 to I5, I8 and I10 hold in every state that the model of one job reaches, and the model reaches the bad ones."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.models.invariants import Violation
from tests.unit.lifecycle.disabled_guards import (
    Disable,
    without_check,
    without_claim_before_launch,
    without_conditioned_writes,
    without_death,
    without_finalizer_first,
    without_forward_only,
    without_holder_rule,
)
from tests.unit.lifecycle.job_machine import JobMachine
from tests.unit.lifecycle.walker import walk


def test_the_invariants_hold_whatever_happens_to_a_job() -> None:
    limits = settings(settings.get_profile("lifecycle"), max_examples=200, stateful_step_count=50)
    run_state_machine_as_test(JobMachine, settings=limits)


def test_the_invariants_hold_on_random_walks() -> None:
    rulings: set[str] = set()
    for number in range(150):
        machine = JobMachine()
        walk(machine, number)
        rulings.update(ruling for _, ruling in machine.world.checker.rulings)
    assert rulings == {"applied", "stale", "duplicate", "gone"}, "the walks do not come far"


@pytest.mark.parametrize(
    "disable",
    [
        pytest.param(without_check("Superseded"), id="run id check"),
        pytest.param(without_check("TemplateChanged"), id="template check"),
        pytest.param(without_conditioned_writes, id="resourceVersion condition"),
        pytest.param(without_claim_before_launch, id="claim before launch"),
        pytest.param(without_finalizer_first, id="finalizer before claim"),
        pytest.param(without_holder_rule, id="holder rule"),
        pytest.param(without_death, id="death of an execution"),
        pytest.param(without_forward_only, id="forward-only cache"),
    ],
)
def test_random_walks_find_a_violation_by_themselves_when_a_guard_is_missing(
    disable: Disable, monkeypatch: pytest.MonkeyPatch
) -> None:
    disable(monkeypatch)

    def search() -> None:
        for number in range(150):
            walk(JobMachine(), number)

    with pytest.raises(Violation):
        search()
