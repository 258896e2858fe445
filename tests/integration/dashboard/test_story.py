"""Denied, told, opened in the browser, decided with a comment, running, revoked, and the next call stopped."""

import asyncio
import json
from pathlib import Path

import pytest

from curation.api.names import ANNOTATION_OBSERVE_REQUESTED_AT
from tests.harness import manifests
from tests.harness.receiver import KEY, receiver
from tests.harness.world import World
from tests.integration.approvals.decisions import Approvals, permit
from tests.integration.dashboard.conftest import Opens, pictured

HOSTILE = '<img src=x onerror="window.pwned=1"><script>window.pwned=2</script> Summarise the new data set.'
"""What a tenant wrote into an input."""


@pytest.mark.own_operator
async def test_a_denied_call_is_told_decided_in_the_browser_and_stopped_again_by_a_revocation(
    world: World, approvals: Approvals, approver: str, opens: Opens, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_bytes(KEY)
    loop = asyncio.get_running_loop()

    def heard() -> None:
        loop.call_soon_threadsafe(world.notify)

    with receiver(heard) as told:
        # The receiver is away at first: it is told again.
        told.statuses = [503]
        operator = await world.start_operator("--notify-url", told.url, "--notify-key-file", str(key))
        await world.cluster.create(manifests.module())
        await world.cluster.create(
            manifests.policy(permit('context.path != "/sessions" && context.trigger == "Submit"'))
        )
        await world.create_job(input={"message": HOSTILE})

        # Denied, and told.
        name = (await approvals.one())["metadata"]["name"]
        await world.until(lambda: len(told.of("approval.pending")) == 2, "the receiver is told twice")
        first, again = told.of("approval.pending")
        assert first["id"] == again["id"]
        assert (again["data"]["name"], again["data"]["namespace"]) == (name, world.namespace)
        assert again["data"]["call"].startswith("POST http://127.0.0.1:")
        assert "Summarise" not in json.dumps(again)

        # Opened in the browser, by the keyboard alone.
        page, _ = await opens(approver)
        await page.until("document.querySelector('#main a')?.textContent === 'job-0'")
        await pictured(page, "dashboard-jobs")
        await page.tab_to('nav a[data-section="approvals"]')
        await page.press("Enter")
        await page.until(f"document.querySelector('tbody a')?.textContent === '{name}'")
        await pictured(page, "dashboard-approvals")
        await page.tab_to("tbody a")
        await page.press("Enter")
        await page.until("document.getElementById('approve') && !document.getElementById('approve').disabled")
        text = await page.text()
        admin = world.job()["metadata"]["annotations"]["curation.dev/created-by"]
        for shown in (
            HOSTILE.partition(">")[0].replace('"', '\\"'),
            admin,
            "no policy permits",
            "every method, path and query on",
        ):
            assert shown.lower() in text.lower(), text
        assert await page.evaluate("typeof window.pwned") == "undefined"
        assert await page.evaluate("document.querySelectorAll('main img, main script').length") == 0
        spoken = await page.spoken()
        for part in (
            ("radio", "Host"),
            ("textbox", "Comment"),
            ("button", "Approve"),
            ("button", "Deny"),
            ("main", ""),
        ):
            assert part in spoken, spoken
        assert ("radio", "Request") in spoken

        # Decided with a comment.
        await page.click("#scope-Host")
        await page.tab_to("#comment")
        await page.type("Ticket 7: needed <b>once</b>.")
        await pictured(page, "dashboard-approval")
        await page.tab_to("#approve")
        await page.press("Enter")
        await page.until("document.getElementById('outcome').textContent.startsWith('Approved by')")
        await world.until_phase("Running")
        await approvals.until_ready(name, "Approved")
        decision = approvals.status(name)["decisions"][-1]
        assert (decision["by"], decision["scope"]) == (approver, "Host")
        assert decision["comment"] == "Ticket 7: needed <b>once</b>."
        await world.until(lambda: bool(told.of("approval.decided")), "the decision is told")
        assert told.of("approval.decided")[0]["data"]["decision"]["by"] == approver

        # Running, and its timeline says how it came to that.
        await page.evaluate(f"location.hash = '#/job/{world.namespace}/job-0'")
        await page.until(
            "document.querySelectorAll('.mark.denied').length && document.body.innerText.includes('SessionSpawned')"
        )
        timeline = await page.evaluate("document.querySelector('ol.timeline').innerText")
        assert timeline.index("AwaitingApproval") < timeline.index("Approved") < timeline.index("SessionSpawned")
        await pictured(page, "dashboard-job")

        # Revoked: the next call is stopped.
        await page.evaluate(f"location.hash = '#/approval/{world.namespace}/{name}'")
        await page.click("#comment")
        await page.type("No longer.")
        await page.click("#revoke")
        await page.until("document.getElementById('outcome').textContent.startsWith('Revoked by')")
        await approvals.until_ready(name, "Revoked")
        assert [each["decision"] for each in approvals.status(name)["decisions"]] == ["Approved", "Revoked"]

        def observed() -> int:
            # What is left of the first attempt may be cancelled at any time: a revoked grant still lets Cancel.
            return sum(entry.caller.trigger == "Observe" for entry in world.service.log())

        before = observed()
        annotations = {ANNOTATION_OBSERVE_REQUESTED_AT: "now"}
        await world.cluster.patch("curationjobs", "job-0", {"metadata": {"annotations": annotations}})

        def stopped() -> bool:
            conditions = world.status()["conditions"]
            return any(each["type"] == "Authorized" and each["status"] == "False" for each in conditions)

        await world.until(stopped, "the observation is denied")
        assert observed() == before, "a call has left"
        assert world.status()["phase"] == "Running"
        assert page.complaints == []
        await operator.stop()
