"""The nine faces with guests in pods: the very tests, but for those of an operator that dies, which pods survive."""

from pathlib import Path

import pytest

from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER
from tests.faults.proxy import UPDATE, FaultProxy, held_request
from tests.gauntlet.test_killed_anywhere import assert_no_run_was_executed_twice
from tests.harness.pods import Pods, PodWorld
from tests.harness.slow_runs import Point, sessions_of, until_answered
from tests.harness.world import World
from tests.integration.faces.test_f1_stale_success_reaches_a_running_job import (
    test_f1_a_stale_session_spawned_leaves_a_running_job_and_its_session_alone,
)
from tests.integration.faces.test_f2_orphan_session_is_cancelled import (
    test_f2_a_session_that_a_stale_run_had_created_is_cancelled,
)
from tests.integration.faces.test_f3_stale_failure_reaches_a_submitted_attempt import (
    test_f3_a_stale_failure_leaves_a_submitted_attempt_alone,
)
from tests.integration.faces.test_f4_stale_failure_reaches_a_queued_job import (
    test_f4_a_stale_failure_leaves_a_queued_job_alone,
)
from tests.integration.faces.test_f5_stale_success_comes_first import (
    test_f5_a_stale_success_does_not_win_while_the_current_attempt_is_under_way,
)
from tests.integration.faces.test_f6_denial_that_did_not_matter import (
    test_f6_a_run_that_tolerated_a_denied_call_succeeded,
    test_f6_a_run_that_was_approved_midway_succeeded,
)
from tests.integration.faces.test_f7_break_after_the_spawn import (
    test_f7_a_module_that_breaks_does_not_fail_a_job_whose_session_runs,
    test_f7_a_session_lives_on_while_its_observation_and_stale_runs_fail,
    test_f7_an_observation_that_goes_wrong_does_not_fail_the_job,
    test_f7_an_observation_that_is_denied_does_not_fail_the_job,
)
from tests.integration.faces.test_f8_operator_dies import STATUS, die_in_attempts
from tests.integration.faces.test_f9_superseded_without_a_denial import (
    test_f9_a_run_of_a_job_that_was_recreated_by_force_does_not_touch_the_new_one,
    test_f9_a_run_superseded_by_a_deletion_leaves_nothing,
    test_f9_a_run_superseded_by_a_spec_edit_changes_nothing_and_leaves_nothing,
    test_f9_a_run_superseded_by_a_suspension_changes_nothing_and_leaves_nothing,
    test_f9_a_run_superseded_by_a_timeout_changes_nothing_and_leaves_nothing,
)

__all__ = [
    "test_f1_a_stale_session_spawned_leaves_a_running_job_and_its_session_alone",
    "test_f2_a_session_that_a_stale_run_had_created_is_cancelled",
    "test_f3_a_stale_failure_leaves_a_submitted_attempt_alone",
    "test_f4_a_stale_failure_leaves_a_queued_job_alone",
    "test_f5_a_stale_success_does_not_win_while_the_current_attempt_is_under_way",
    "test_f6_a_run_that_tolerated_a_denied_call_succeeded",
    "test_f6_a_run_that_was_approved_midway_succeeded",
    "test_f7_a_module_that_breaks_does_not_fail_a_job_whose_session_runs",
    "test_f7_a_session_lives_on_while_its_observation_and_stale_runs_fail",
    "test_f7_an_observation_that_goes_wrong_does_not_fail_the_job",
    "test_f7_an_observation_that_is_denied_does_not_fail_the_job",
    "test_f9_a_run_of_a_job_that_was_recreated_by_force_does_not_touch_the_new_one",
    "test_f9_a_run_superseded_by_a_deletion_leaves_nothing",
    "test_f9_a_run_superseded_by_a_spec_edit_changes_nothing_and_leaves_nothing",
    "test_f9_a_run_superseded_by_a_suspension_changes_nothing_and_leaves_nothing",
    "test_f9_a_run_superseded_by_a_timeout_changes_nothing_and_leaves_nothing",
]

# Each run of each is three processes.
MANY_JOBS = 8
# Longer than a takeover, but on a busy machine. What is left of a run that ended so is cleaned until then.
WALL_SECONDS = 30
RETRY = {"limit": 5, "initialDelaySeconds": 1, "maxDelaySeconds": 1}


@pytest.mark.variants(Point.CREATE, Point.CREATED, Point.CONFIGURE, Point.LAST_ANSWER)
async def test_f8_an_operator_that_dies_in_a_run_leaves_one_live_session(
    world: World, point: Point, stale: int, jobs: int
) -> None:
    """The next one hears of the run's end, which has no answer to the call that was on the wire, and retries it."""
    await world.prepare(wall_seconds=WALL_SECONDS)
    names = await die_in_attempts(world, point, stale, jobs, retry=RETRY)
    await world.settled()

    for name in names:
        assert world.status(name)["run"]["attempt"] == stale + 1
        assert {entry["reason"] for entry in world.status(name)["history"][:stale]} <= {"HTTPUnavailable", "Timeout"}
        assert_no_run_was_executed_twice(world, world.job(name)["metadata"]["uid"])
    for attempt in range(1, stale + 1):
        assert not any(session.live for session in sessions_of(world, names, generation=1, attempt=attempt))


async def test_f8_an_operator_that_dies_with_its_status_write_under_way_loses_no_session(
    world: PodWorld, pods: Pods, tmp_path: Path
) -> None:
    """The pod says again what it came to."""
    await world.prepare(wall_seconds=WALL_SECONDS)
    async with FaultProxy(world.cluster.connection.kubeconfig(OPERATOR_USER, OPERATOR_GROUPS)) as proxy:
        operator = await world.start_operator(kubeconfig=proxy.kubeconfig(tmp_path))
        rule = await pods.create_held_job(Point.LAST_ANSWER)
        await pods.until_bound()
        late = proxy.inject(held_request(UPDATE, STATUS))
        rule.release()
        await late.reached.wait()
        await operator.kill()
        await world.start_operator()
        await world.until_phase("Running")
        late.release()  # the dead operator's write arrives after all
        assert await until_answered(late) == 409

    await world.settled()
    assert world.status()["run"]["attempt"] == 1
    (session,) = world.service.sessions()
    assert (session.live, session.id) == (True, world.status()["session"]["id"])
    await pods.until_no_jobs()
