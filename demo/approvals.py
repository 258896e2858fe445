"""Act 4: a denial is not the end of a job. One waits until a person approves the call, one until a policy allows it."""

from __future__ import annotations

import json
from typing import Final

from demo.board import DemoFailed
from demo.kubectl import NAMESPACE
from demo.story import Cast, names, read_jobs

FILE: Final = "jobs-waiting.yaml"
APPROVER: Final = "ada"


async def approved_and_allowed(cast: Cast) -> list[str]:
    """Returns the names of the two jobs."""
    board, screen, kubectl = cast.board, cast.screen, cast.kubectl
    both = names(read_jobs(FILE))
    by_person, by_policy = both
    screen.act("4  Two more jobs are denied and wait: one is freed by a person, one by a policy")
    await kubectl.apply(FILE)
    screen.now("waiting for two denials, and for an approval to decide for each")
    await board.until(
        lambda: (
            all(job.approval for job in board.in_phase("AwaitingApproval", both))
            and len(board.in_phase("AwaitingApproval", both)) == len(both)
        ),
        "both jobs wait for an approval",
    )
    approval = board.jobs[by_person].approval
    if approval == board.jobs[by_policy].approval:
        raise DemoFailed(f"two modules share the approval {approval}")
    screen.say(f"{by_person} and {by_policy} are AwaitingApproval, each with a CurationApproval that names its call.")
    # The module's next calls have other paths, with the new session's id in them: hence the scope Host, not Request.
    await kubectl("curation", "approve", approval, "--namespace", NAMESPACE, "--scope=Host", user=APPROVER)
    screen.now("waiting for the approved job to run")
    await board.until(lambda: bool(board.in_phase("Running", [by_person])), f"{by_person} runs")
    if not board.in_phase("AwaitingApproval", [by_policy]):
        raise DemoFailed(f"the approval {approval} has freed {by_policy} too, which it does not name")
    decided = await kubectl("get", "cappr", approval, "--namespace", NAMESPACE, "--output=json", quiet=True)
    spec = json.loads(decided)["spec"]
    if (spec["decision"], spec.get("decidedBy")) != ("Approved", APPROVER):
        raise DemoFailed(f"{approval} is {spec['decision']} by {spec.get('decidedBy')}, not Approved by {APPROVER}")
    screen.say(f"{by_person} is Running, by leave of {APPROVER}; {by_policy} still waits for a leave of its own.")
    await kubectl.apply("policy-publish.yaml")
    screen.now("waiting for the other one to run")
    await board.until(lambda: bool(board.in_phase("Running", [by_policy])), f"{by_policy} runs")
    await board.until(lambda: len(board.live()) == len(board.jobs), "every job has its one live session")
    screen.say(f"{by_policy} is Running, by leave of the policy.")
    screen.end_of_act(board)
    return both
