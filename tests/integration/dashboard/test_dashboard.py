"""The page's own promises: whose rights it has, whom it answers, and that a thousand jobs stay smooth."""

import asyncio
import json
import urllib.error
import urllib.request

from testing.admin_client import AdminClient
from testing.controlplane.connection import Connection
from tests.harness import manifests
from tests.harness.browser import Page
from tests.integration.cli.running import Objects, request
from tests.integration.dashboard.conftest import Opens
from tests.integration.manifests.conftest import Bind

JOBS = "curationjobs"
MANY = 1000


def asked(url: str, body: object = None, **headers: str) -> tuple[int, str]:
    """Status and text of the answer to a request that no page of ours has sent."""
    data = None if body is None else json.dumps(body).encode()
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def decided(page: Page, name: str, namespace: str, decision: str) -> dict[str, str]:
    """What the server answers to a decision that the page's own button would not let one make."""
    found: dict[str, str] = await page.evaluate(
        f"""(async () => {{
          const where = new URLSearchParams({{namespace: '{namespace}', name: '{name}'}});
          const {{uid, generation}} = await (await fetch('approval?' + where)).json();
          const body = {{namespace: '{namespace}', name: '{name}', uid, generation, decision: '{decision}',
            scope: 'Host'}};
          const answer = await fetch('decide', {{method: 'POST', headers: {{'Content-Type': 'application/json'}},
            body: JSON.stringify(body)}});
          return answer.json();
        }})()"""
    )
    return found


async def test_a_viewer_sees_and_decides_nothing_and_nobody_else_is_answered(
    installed: Connection, namespace: str, bind: Bind, opens: Opens
) -> None:
    objects = Objects(installed, namespace)
    name = objects.approval(request(), ["a"])
    page, url = await opens(bind("curation-viewer"))
    await page.evaluate(f"location.hash = '#/approval/{namespace}/{name}'")
    await page.until("document.getElementById('may')?.textContent.includes('you lack the verb')")
    assert await page.evaluate("[...document.querySelectorAll('form button')].every((each) => each.disabled)")
    said = await decided(page, name, namespace, "Approved")
    assert "you may not approve" in said["error"]
    assert objects.get("curationapprovals", name)["spec"]["decision"] == "Pending"

    origin, token = url.rstrip("/").rsplit("/", 1)
    good = {"Origin": origin, "Content_Type": "application/json"}
    body = {"namespace": namespace, "name": name, "uid": "u", "generation": 1, "decision": "Approved", "scope": "Host"}

    def attack() -> dict[str, int]:
        return {
            "no token": asked(f"{origin}/")[0],
            "another token": asked(f"{origin}/{'x' * len(token)}/")[0],
            "a name that points here": asked(url, Host="attacker.example")[0],
            "a page of another site reads": asked(f"{url}feed", Origin="https://attacker.example")[0],
            "a page of another site asks": asked(url, Sec_Fetch_Site="cross-site")[0],
            "a page of another site writes": asked(
                f"{url}decide", body, **{**good, "Origin": "https://attacker.example"}
            )[0],
            "a form writes": asked(f"{url}decide", body, Origin=origin, Content_Type="text/plain")[0],
            "no page writes": asked(f"{url}decide", body, Content_Type="application/json")[0],
            "what is no file": asked(f"{url}page.html")[0],
            "a path out": asked(f"{url}..%2fserver.py")[0],
            "what is no decision": asked(f"{url}decide", ["x"], **good)[0],
            "too much": asked(f"{url}decide", "x" * 100_000, **good)[0],
        }

    assert await asyncio.to_thread(attack) == {
        "no token": 404,
        "another token": 404,
        "a name that points here": 421,
        "a page of another site reads": 403,
        "a page of another site asks": 403,
        "a page of another site writes": 403,
        "a form writes": 403,
        "no page writes": 403,
        "what is no file": 404,
        "a path out": 404,
        "what is no decision": 409,
        "too much": 413,
    }
    assert objects.get("curationapprovals", name)["spec"]["decision"] == "Pending"
    # The viewer's own complaints: the server's refusal of the decision is logged by the browser.
    assert all("decide" in each for each in page.complaints), page.complaints


async def test_a_thousand_jobs_stay_smooth_since_a_change_touches_its_own_row_only(
    installed: Connection, namespace: str, bind: Bind, opens: Opens
) -> None:
    async with AdminClient(installed, namespace) as cluster:
        made = (manifests.job(f"job-{number:04}", "http://127.0.0.1:9") for number in range(MANY))
        slots = asyncio.Semaphore(16)

        async def create(job: manifests.Document) -> None:
            async with slots:
                await cluster.create(job)

        await asyncio.gather(*map(create, made))
        page, _ = await opens(bind("curation-viewer"))
        await page.until(f"document.querySelectorAll('tbody tr').length === {MANY}")
        await page.evaluate(
            """(() => {
              window.rows = [...document.querySelectorAll('tbody tr')];
              window.touched = new Set();
              new MutationObserver((all) => {
                for (const each of all) {
                  const row = (each.target.nodeType === 1 ? each.target : each.target.parentElement).closest('tr');
                  touched.add(row ? row.firstChild.textContent : each.target.nodeName);
                }
              }).observe(document.querySelector('tbody'), { subtree: true, childList: true, characterData: true });
            })()"""
        )
        changed = [f"job-{number:04}" for number in range(0, MANY, 50)]
        objects = Objects(installed, namespace)
        for name in changed:
            await asyncio.to_thread(
                lambda name=name: objects.status(JOBS, name, phase="Failed", reason="Trap", message="It trapped.")  # type: ignore[misc]
            )
        await page.until(f"document.querySelectorAll('tbody .mark.failed').length === {len(changed)}")
        assert sorted(await page.evaluate("[...touched]")) == changed
        assert await page.evaluate("rows.every((row, index) => row === document.querySelectorAll('tbody tr')[index])")

        # Finding one of them by the keyboard.
        await page.click('button[data-phase="Failed"]')
        await page.tab_to("#search")
        await page.type("job-0950")
        visible = "[...document.querySelectorAll('tbody tr')].filter((row) => !row.hidden)"
        assert await page.evaluate(f"{visible}.map((row) => row.firstChild.textContent)") == ["job-0950"]
        assert page.complaints == []
