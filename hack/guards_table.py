"""The guards of the fence: how each is removed from the real source, and which tests fail then (see `hack.guards`)."""

from dataclasses import dataclass

_LIFECYCLE = "tests/unit/lifecycle/test_guards.py::test_"
_GUARDS = "tests/integration/operator/test_guards.py::test_"
_COMPLETION = "tests/integration/operator/test_completion.py::test_"
_PODS = "tests/unit/pods/test_"
_FACES = "tests/integration/faces/test_"


@dataclass(frozen=True)
class Guard:
    """One guard."""

    name: str
    changes: tuple[tuple[str, str, str], ...]
    """(file below operator/curation, what is there once, what replaces it)."""
    tests: tuple[str, ...]
    """Each fails without the guard: the model's, where the model runs this very code, and the real API server's."""


GUARDS = (
    Guard(
        "run id check",
        (("lifecycle/fence.py", '    ("Superseded", _superseded),', "    #"),),
        (
            f"{_LIFECYCLE}the_run_id_check_keeps_a_late_failure_from_a_newer_attempt",
            f"{_GUARDS}a_late_completion_does_not_reach_a_run_that_another_process_claimed_meanwhile",
        ),
    ),
    Guard(
        "template check",
        (("lifecycle/fence.py", '    ("TemplateChanged", _template_changed),', "    #"),),
        (
            f"{_LIFECYCLE}the_template_check_keeps_an_old_outcome_from_a_new_template",
            f"{_COMPLETION}a_template_edited_between_read_and_write_drops_the_completion",
        ),
    ),
    Guard(
        "uid check",
        (("lifecycle/fence.py", '    ("Recreated", _recreated),', "    #"),),
        (
            f"{_LIFECYCLE}the_uid_check_keeps_an_outcome_from_another_object_of_the_same_name",
            f"{_GUARDS}a_completion_does_not_reach_a_job_that_was_restored_from_a_backup",
        ),
    ),
    Guard(
        "resourceVersion condition",
        (
            (
                "cluster/writer.py",
                'return {**body, "metadata": {**metadata, "resourceVersion": resource_version}}',
                "return body",
            ),
            # The server itself takes no PUT without a resourceVersion.
            (
                "cluster/writer.py",
                "body = status_body(kind, stored, patch) if self._may_put(kind, stored) else None",
                "body = None",
            ),
        ),
        (
            f"{_LIFECYCLE}the_resource_version_condition_keeps_a_write_from_a_version_it_was_not_computed_from",
            f"{_COMPLETION}a_template_edited_between_read_and_write_drops_the_completion",
        ),
    ),
    Guard(
        "claim before launch",
        (
            ("reconciler/jobs/runs.py", "        self.runs.launch(self.attempt)\n", "        #\n"),
            (
                "reconciler/jobs/reconciler.py",
                "            written = await self._write(key, stored, job, step)\n",
                "            self._runs.launch(attempt)\n"
                "            written = await self._write(key, stored, job, step)\n",
            ),
        ),
        (
            f"{_LIFECYCLE}claim_before_launch_leaves_no_session_that_nobody_knows_of",
            f"{_GUARDS}no_call_leaves_before_the_claim_is_written",
        ),
    ),
    Guard(
        "finalizer before the claim",
        (
            (
                "lifecycle/decide.py",
                "if SESSION_FINALIZER not in job.metadata.finalizers and _needs_finalizer(job):",
                "if False:",
            ),
        ),
        (
            f"{_LIFECYCLE}the_finalizer_before_the_claim_lets_no_deletion_outrun_the_cleaning",
            f"{_GUARDS}without_admission_a_job_deleted_in_its_run_leaves_no_session",
        ),
    ),
    Guard(
        "holder rule",
        (
            (
                "execution/seam.py",
                "return Liveness.GONE if held.unchanged >= held.longest else Liveness.UNKNOWN",
                "return Liveness.GONE",
            ),
        ),
        (
            f"{_LIFECYCLE}the_holder_rule_keeps_two_operators_from_chasing_each_other",
            f"{_GUARDS}two_operators_without_a_lease_do_not_take_each_others_runs",
        ),
    ),
    Guard(
        "death of an execution, in its completion",
        (("lifecycle/complete.py", " or (_DEAD if report.dead else None)", ""),),
        (
            f"{_LIFECYCLE}the_death_of_an_execution_outlasts_an_edit_and_its_reversal",
            f"{_GUARDS}an_edit_that_is_taken_back_before_the_next_claim_ends_the_run_all_the_same",
        ),
    ),
    Guard(
        "death of an execution, in its calls",
        (("reconciler/jobs/attempt.py", "            self.kill(against.message)\n", "            pass\n"),),
        (
            f"{_LIFECYCLE}the_death_of_an_execution_outlasts_an_edit_and_its_reversal",
            "tests/gauntlet/test_dead_fence.py::"
            "test_no_request_leaves_a_run_of_many_calls_after_the_operator_has_seen_its_end[rerun-Submit]",
            "tests/gauntlet/test_dead_fence.py::"
            "test_the_answer_of_a_call_on_the_wire_is_awaited_and_no_further_call_is_made",
        ),
    ),
    Guard(
        "forward-only cache",
        (("cluster/cache.py", "(old is not None and version <= old.resource_version)", "False"),),
        (
            f"{_LIFECYCLE}a_cache_that_only_moves_forward_drops_no_good_completion",
            f"{_GUARDS}a_late_watch_does_not_end_a_run_that_was_claimed_on_a_newer_version",
        ),
    ),
    Guard(
        "cancel of a dropped session, in the verdict",
        (
            (
                "lifecycle/complete.py",
                "return None if owned is not None and owned.id == session.id else session",
                "return None",
            ),
            ("reconciler/jobs/completion.py", "report.calls.left > 0\n", "False\n"),
        ),
        (
            f"{_LIFECYCLE}the_cancel_of_a_dropped_session_leaves_no_orphan",
            f"{_FACES}f9_superseded_without_a_denial.py::test_f9_a_run_of_a_job_that_was_recreated_by_force_"
            "does_not_touch_the_new_one[last-answer-1-stale-1-job]",
        ),
    ),
    Guard(
        "cancel of a dropped session, in the reconciler",
        (("reconciler/jobs/reconciler.py", "        if orphaned(verdict, report):\n", "        if False:\n"),),
        (
            f"{_LIFECYCLE}the_cancel_of_a_dropped_session_leaves_no_orphan",
            f"{_FACES}f9_superseded_without_a_denial.py::test_f9_a_run_of_a_job_that_was_recreated_by_force_"
            "does_not_touch_the_new_one[last-answer-1-stale-1-job]",
            f"{_COMPLETION}a_job_recreated_between_read_and_write_does_not_get_the_completion_of_the_old_one",
        ),
    ),
    Guard(
        "binding to the first pod",
        (
            (
                "lifecycle/binding.py",
                "        same = (known.uid, known.job_uid) == (pod.uid, pod.job_uid)\n",
                "        same = True\n",
            ),
        ),
        (
            "tests/unit/lifecycle/test_binding.py::test_every_other_pod_is_refused_whatever_its_name[another-pod]",
            "tests/unit/lifecycle/test_binding.py::test_every_other_pod_is_refused_whatever_its_name[another-job]",
            "tests/integration/pods/test_ends_of_pods.py::"
            "test_a_second_pod_of_the_same_job_is_turned_away_and_the_first_goes_on",
        ),
    ),
    Guard(
        "call of another worker",
        (("pods/pod_run.py", "        self._last_call = calls\n", "        self._last_call = 0\n"),),
        (
            f"{_PODS}guests.py::test_a_resumed_guest_is_not_started_again_and_its_call_is_answered_that_nobody_knows",
            f"{_PODS}resumption.py::"
            "test_a_call_that_was_on_the_wire_when_its_operator_died_is_answered_unavailable_and_made_once",
        ),
    ),
    Guard(
        "calls of another worker in the report",
        (("execution/calls.py", "            left=self.earlier + self.left,\n", "            left=self.left,\n"),),
        (f"{_PODS}resumption.py::test_the_calls_after_a_change_of_operators_go_on_where_those_before_have_ended",),
    ),
    Guard(
        "calls of a run that was never heard",
        (("execution/guest_execution.py", "            if self._calls_unknown:\n", "            if False:\n"),),
        (
            f"{_PODS}executions.py::"
            "test_a_resumed_run_that_is_stopped_before_its_pod_was_heard_has_calls_that_are_unknown",
        ),
    ),
    Guard(
        "one operator for a pod",
        (
            (
                "pods/guests.py",
                "here.connection - self._connection > self._joins, 0\n",
                "False, 0\n",
            ),
        ),
        (f"{_PODS}guests.py::test_a_pod_that_another_operator_has_heard_meanwhile_is_lost",),
    ),
)
