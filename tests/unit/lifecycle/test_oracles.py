"""The oracles find what they are there to find: a sound history passes, each offence is named with its versions."""

import copy
from typing import Any

import pytest

from tests.models.sessions import State
from tests.models.world import World
from tests.oracles import flux, kstatus
from tests.oracles.history import check_history, check_terminal
from tests.oracles.kstatus import Status

Document = dict[str, Any]


@pytest.fixture(scope="module")
def sound() -> list[Document]:
    """A job that runs twice, the second time to a session that completes."""
    world = World()
    world.create("A")
    world.drain()
    world.edit_template("B")
    world.drain()
    world.end_session(State.COMPLETED)
    world.drain()
    (versions,) = world.versions().values()
    assert versions[-1]["status"]["phase"] == "Completed"
    return versions


def spoiled(versions: list[Document], index: int, **status: Any) -> list[Document]:
    changed = copy.deepcopy(versions)
    changed[index]["status"].update(status)
    return changed


def index_of(versions: list[Document], phase: str, last: bool = False) -> int:
    found = [index for index, obj in enumerate(versions) if obj["status"].get("phase") == phase]
    return found[-1 if last else 0]


def test_a_sound_history_passes_in_any_order_and_with_repetitions(sound: list[Document]) -> None:
    check_history(sound)
    check_history([*reversed(sound), *sound])


def test_versions_of_two_objects_are_not_one_history(sound: list[Document]) -> None:
    other = copy.deepcopy(sound[-1])
    other["metadata"]["uid"] = "another"
    other["metadata"]["resourceVersion"] = "100000"
    with pytest.raises(ValueError, match="several objects"):
        check_history([*sound, other])


def _after(versions: list[Document], **status: Any) -> list[Document]:
    """The history with one version more."""
    last = copy.deepcopy(versions[-1])
    last["metadata"]["resourceVersion"] = str(int(last["metadata"]["resourceVersion"]) + 1)
    last["status"].update(status)
    return [*versions, last]


@pytest.mark.parametrize("phase", ["Failed", "Queued", "Running"])
def test_leaving_a_terminal_phase_is_found(sound: list[Document], phase: str) -> None:
    with pytest.raises(AssertionError, match=rf"I2.*\n.*phase=Completed.*\n.*phase={phase}"):
        check_history(_after(sound, phase=phase))


def test_a_second_terminal_transition_is_found_even_if_another_run_came_between(sound: list[Document]) -> None:
    changed = copy.deepcopy(sound)
    for obj in changed:  # the first run failed ...
        if obj["status"].get("phase") == "Running" and obj["status"]["run"]["generation"] == 1:
            obj["status"]["phase"] = "Failed"
    check_terminal(changed)
    first = changed[index_of(changed, "Failed")]["status"]["run"]
    with pytest.raises(AssertionError, match="I1"):  # ... and after the second one it fails again
        check_terminal(_after(changed, phase="Failed", run=first, templateGeneration=1))


def test_an_attempt_that_is_left_out_or_repeated_is_found(sound: list[Document]) -> None:
    run = sound[-1]["status"]["run"]
    uid = sound[-1]["metadata"]["uid"]
    for generation, attempt in ((2, 3), (1, 2), (1, 1), (2, 0)):
        other = {**run, "id": f"{uid}.g{generation}.a{attempt}", "generation": generation, "attempt": attempt}
        with pytest.raises(AssertionError, match="I3"):
            check_history(_after(sound, phase="Completed", run=other))


def test_a_run_with_another_id_is_found(sound: list[Document]) -> None:
    run = {**sound[-1]["status"]["run"], "id": "another.g2.a2", "attempt": 2}
    with pytest.raises(AssertionError, match="I3: the run of this generation"):
        check_history(_after(sound, run=run))


def test_a_run_that_is_removed_is_found(sound: list[Document]) -> None:
    changed = _after(sound)
    del changed[-1]["status"]["run"]
    with pytest.raises(AssertionError, match="I3: the run was removed"):
        check_history(changed)


def test_an_observed_generation_that_falls_is_found(sound: list[Document]) -> None:
    with pytest.raises(AssertionError, match="I3: observedGeneration fell"):
        check_history(_after(sound, observedGeneration=1))


def test_an_observed_generation_above_the_generation_is_found(sound: list[Document]) -> None:
    with pytest.raises(AssertionError, match="above the generation"):
        flux.check_conditions(_after(sound, observedGeneration=100))


def test_more_abandoned_runs_than_allowed_are_found(sound: list[Document]) -> None:
    entries = [{"id": f"run{number}"} for number in range(21)]
    with pytest.raises(AssertionError, match="21 abandoned runs"):
        check_history(_after(sound, abandonedRuns=entries))
    with pytest.raises(AssertionError, match="abandoned twice"):
        check_history(_after(sound, abandonedRuns=[{"id": "a"}, {"id": "a"}]))
    claim = index_of(sound, "Submitted")
    with pytest.raises(AssertionError, match="20 abandoned runs"):
        check_history(spoiled(sound, claim, abandonedRuns=entries[:20]))
    with pytest.raises(AssertionError, match="more than 5"):
        check_history(_after(sound, history=entries[:6]))


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [("Superseded", "TemplateChanged"), ("Abandoned", "Suspended"), ("Failed", "DeadlineExceeded")],
)
def test_a_run_that_was_replaced_and_is_not_to_be_cleaned_is_found(
    sound: list[Document], outcome: str, reason: str
) -> None:
    (index,) = (number for number, obj in enumerate(sound) if _replaces(obj, sound[number - 1]))
    versions = spoiled(sound, index, abandonedRuns=[])
    versions[index]["status"]["history"][-1].update(outcome=outcome, reason=reason)
    with pytest.raises(AssertionError, match="is not among those to be cleaned"):
        check_history(versions[: index + 1])
    check_history(sound[: index + 1])


def _replaces(obj: Document, before: Document) -> bool:
    """Whether this version is the first that shows a replaced run."""
    recorded = [[entry["outcome"] for entry in version["status"].get("history") or []] for version in (before, obj)]
    return "Superseded" in recorded[1] and "Superseded" not in recorded[0]


def test_a_lie_to_kstatus_is_found(sound: list[Document]) -> None:
    running = index_of(sound, "Running")
    conditions = copy.deepcopy(sound[-1]["status"]["conditions"])
    with pytest.raises(AssertionError, match="kstatus says Current of a job that is Running"):
        kstatus.check_truth(spoiled(sound, running, conditions=conditions))
    with pytest.raises(AssertionError, match="kstatus says Current"):
        kstatus.check_truth(spoiled(sound, running, conditions=[]))
    told_of_running = copy.deepcopy(sound[running]["status"]["conditions"])
    for phase in ("Completed", "Failed"):
        with pytest.raises(AssertionError, match=f"kstatus says InProgress of a job that is {phase}"):
            kstatus.check_truth(spoiled(sound, -1, phase=phase, conditions=told_of_running))


def test_a_lie_about_a_module_is_found() -> None:
    ready = {"type": "Ready", "status": "True", "observedGeneration": 2}
    module: Document = {
        "kind": "CurationModule",
        "metadata": {"name": "m", "generation": 2, "resourceVersion": "7"},
        "status": {"observedGeneration": 2, "conditions": [ready]},
    }
    for fine in (module, {**module, "status": {}}):
        flux.check_conditions([fine])
        kstatus.check_readiness([fine])
    for recorded, match in (
        ({"observedGeneration": 2, "conditions": [ready, ready]}, "twice"),
        ({"observedGeneration": 2, "conditions": [{**ready, "type": "Valid"}]}, "no Ready condition"),
        ({"observedGeneration": 3, "conditions": [ready]}, "above the generation"),
        ({"observedGeneration": 1, "conditions": [ready]}, "has not observed"),
        (
            {"observedGeneration": 2, "conditions": [{**ready, "observedGeneration": 1}]},
            "Ready is True of generation 1",
        ),
        ({"observedGeneration": 2}, "no Ready condition"),
    ):
        with pytest.raises(AssertionError, match=match):
            flux.check_conditions([{**module, "status": recorded}])
    with pytest.raises(AssertionError, match="kstatus says Current"):
        kstatus.check_readiness([{**module, "status": {"conditions": [ready]}}])


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ({}, Status.CURRENT),
        ({"Ready": "True"}, Status.CURRENT),
        ({"Ready": "False"}, Status.IN_PROGRESS),
        ({"Ready": "Unknown"}, Status.IN_PROGRESS),
        ({"Ready": "True", "Reconciling": "True"}, Status.IN_PROGRESS),
        ({"Ready": "False", "Stalled": "True"}, Status.FAILED),
        ({"Stalled": "True", "Reconciling": "True"}, Status.IN_PROGRESS),
    ],
)
def test_kstatus_follows_its_generic_rules(conditions: dict[str, str], status: Status) -> None:
    obj: Document = {
        "metadata": {"generation": 2},
        "status": {"observedGeneration": 2, "conditions": [{"type": t, "status": s} for t, s in conditions.items()]},
    }
    assert kstatus.compute(obj) is status
    obj["status"]["observedGeneration"] = 1
    assert kstatus.compute(obj) is Status.IN_PROGRESS
    obj["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    assert kstatus.compute(obj) is Status.TERMINATING


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda c: [x for x in c if x["type"] != "Ready"], "no Ready"),
        (lambda c: [*c, c[0]], "twice"),
        (
            lambda c: [*c, *({**c[0], "type": kind, "status": "True"} for kind in ("Reconciling", "Stalled"))],
            "both True",
        ),
        (lambda c: [{**x, "observedGeneration": 99} for x in c], "not observed"),
        (lambda c: [{k: v for k, v in x.items() if k != "observedGeneration"} for x in c], "no observedGeneration"),
    ],
)
def test_each_rule_of_flux_is_checked(sound: list[Document], change: Any, finding: str) -> None:
    with pytest.raises(AssertionError, match=finding):
        flux.check_conditions(_after(sound, conditions=change(sound[-1]["status"]["conditions"])))
