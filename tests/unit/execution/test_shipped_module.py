"""The module that the operator ships runs in the executor as it is: same engine, same limits, same contract."""

from dataclasses import replace

from curation.execution.seam import ModuleBuild
from curation.lifecycle.outcome import Cancelled, Denied, SessionRef, SessionSpawned, Trigger
from curation.wasm.limits import Limits
from curation.wasm.module_bytes import builtin_bytes, digest_of
from tests.unit.execution.conftest import NAMESPACE, Rig, ended

NAME = "build-session-message-v1"


async def run(rig: Rig, trigger: Trigger, session: SessionRef | None = None):  # type: ignore[no-untyped-def]
    wasm = builtin_bytes(NAME)
    request = rig.request(wasm, trigger, session=session)
    module = ModuleBuild(NAME, digest_of(wasm), Limits())
    config = {"api_url": rig.peer.url("")}
    return await ended(rig.ask(replace(request, module=module, config=config, input={"message": "hi"})))


async def test_it_spawns_a_session(rig: Rig) -> None:
    report = await run(rig, Trigger.SUBMIT)
    assert isinstance(report.result, SessionSpawned), report
    assert report.result.session.id == "s-1"
    assert report.calls.left == report.calls.answered == len(rig.peer.seen)
    assert all(seen.headers["Idempotency-Key"].startswith(report.run.id) for seen in rig.peer.seen)


async def test_it_cancels_by_session_and_by_run(rig: Rig) -> None:
    assert (await run(rig, Trigger.CANCEL, SessionRef("s-7"))).result == Cancelled()
    report = await run(rig, Trigger.CANCEL)
    assert report.result == Cancelled()
    assert [seen.path for seen in rig.peer.seen] == ["/sessions/s-7/cancel", f"/runs/{report.run.id}/cancel"]


async def test_it_is_denied_without_a_policy(rig: Rig) -> None:
    rig.book.remove_policy(NAMESPACE, "p")
    report = await run(rig, Trigger.SUBMIT)
    assert isinstance(report.result, Denied)
    assert report.calls.left == 0
