"""Of `test_killed_anywhere` what ends the same with guests in pods."""

from tests.gauntlet.test_killed_anywhere import test_killed_again_and_again, test_killed_while_a_job_is_deleted

__all__ = ["test_killed_again_and_again", "test_killed_while_a_job_is_deleted"]
