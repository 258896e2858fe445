"""Policies are judged by another process: what counts meanwhile, what counts at once, and who waits for how long."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from curation.authz.register import PolicyRegister
from curation.checking import checkers as checkers_module
from curation.checking.checkers import Checkers
from curation.cluster.resources import CLUSTER_POLICIES, JOBS, POLICIES
from curation.reconciler.runtime.key import Key
from curation.reconciler.sources.judging import HOLD_SECONDS, MAX_WAITING
from curation.reconciler.sources.policies import PolicyReconciler
from tests.unit.reconciler.disconnected import Rig, disconnected

PERMIT = "permit (principal, action, resource);"
FORBID = "forbid (principal, action, resource);"
SLOW = "// sleep 600"
INVALID = "permit (principal"
JOB = Key(JOBS, "ns", "job")


class World:
    """The reconciler of policies, with real checkers, and what its caches are given."""

    now = 0.0

    def __init__(self) -> None:
        self._version = 0

    def use(self, rig: Rig, checkers: Checkers) -> None:
        self.context = rig.context
        self.queue = rig.queue
        self.policies = PolicyReconciler(rig.context, rig.in_use, checkers)
        for kind in (POLICIES, CLUSTER_POLICIES):
            rig.context.caches[kind].listen(self.policies.on_change)
        self._rig = rig

    def apply(self, generation: int, cedar: str, name: str = "p", *, namespace: str = "ns", **metadata: Any) -> Any:
        self._version += 1
        kind = POLICIES if namespace else CLUSTER_POLICIES
        document = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {
                "name": name,
                "uid": "u",
                "generation": generation,
                "resourceVersion": str(self._version),
                **({"namespace": namespace} if namespace else {}),
                **metadata,
            },
            "spec": {"cedar": cedar},
        }
        self.context.caches[kind].put(document)
        return document

    def delete(self, document: Any) -> None:
        self._version += 1
        document["metadata"]["resourceVersion"] = str(self._version)
        self.context.caches[POLICIES].delete(document)

    def counting(self, namespace: str | None = "ns") -> dict[str, str]:
        return texts(self.context.book, namespace)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(120):
            while not condition():  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.01)

    async def judged(self, name: str = "p", *, namespace: str = "ns") -> None:
        key = Key(POLICIES if namespace else CLUSTER_POLICIES, namespace, name)
        await self.until(lambda: not self.policies.judging.waits(key))

    def taken(self) -> list[Key]:
        return self._rig.taken()


def texts(book: PolicyRegister, namespace: str | None) -> dict[str, str]:
    """What counts, by name; in brackets what counts for Cancel alone, in braces of what only the forbids do."""
    scope = book._scope(namespace)
    return {
        name: f"({source.given})"
        if source.cancel_only
        else f"{{{source.given}}}"
        if source.forbids_only
        else source.given
        for name, source in scope.policies.items()
    }


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(checkers_module, "_TARGET", "tests.peers.checkers:main")
    monkeypatch.setattr(checkers_module, "_RETRY_SECONDS", (0.01,))
    checkers = Checkers()
    made = World()
    async with disconnected(tmp_path, monotonic=lambda: made.now) as rig:
        made.use(rig, checkers)
        made.policies.judging._starting = False
        yield made
        await made.policies.judging.close()
        await checkers.close()


async def test_a_text_counts_once_it_is_judged_and_until_then_the_one_before_it(world: World) -> None:
    world.apply(1, PERMIT)
    await world.judged()
    world.apply(2, SLOW)
    await asyncio.sleep(0)
    assert world.counting() == {"p": PERMIT}
    world.apply(1, FORBID, "q", namespace="")  # the other checker
    await world.judged("q", namespace="")
    assert world.counting(None) == {"q": FORBID}
    assert world.counting() == {"p": PERMIT}


async def test_a_deletion_counts_at_once_whatever_waits(world: World) -> None:
    document = world.apply(1, PERMIT)
    await world.judged()
    world.apply(2, SLOW)
    world.delete(document)
    assert world.counting() == {}
    world.apply(1, FORBID, "q", uid="v")
    await world.judged("q")
    assert world.counting() == {"q": FORBID}, "the judgement that nobody waits for holds nobody up"


async def test_what_is_being_deleted_counts_for_cancel_alone_at_once(world: World) -> None:
    world.apply(1, PERMIT)
    await world.judged()
    world.apply(2, SLOW)
    world.apply(3, SLOW, deletionTimestamp="2026-01-01T00:00:00Z", deletionGracePeriodSeconds=0)
    assert world.counting() == {"p": f"({PERMIT})"}


async def test_an_object_that_was_made_anew_ends_what_the_one_before_it_permitted(world: World) -> None:
    world.apply(1, PERMIT)
    await world.judged()
    world.apply(1, SLOW, uid="another")
    assert world.counting() == {}


async def test_an_invalid_revision_leaves_the_last_valid_one_in_force(world: World) -> None:
    for generation, text in enumerate((PERMIT, INVALID, INVALID + "x", FORBID + INVALID), 1):
        world.apply(generation, text)
    await world.judged()
    assert world.counting() == {"p": PERMIT}
    world.apply(5, FORBID)
    await world.judged()
    assert world.counting() == {"p": FORBID}


async def test_edits_of_labels_crowd_out_no_revision_that_waits(world: World) -> None:
    world.apply(1, PERMIT)
    await world.judged()
    world.apply(2, INVALID)
    for _ in range(10 * MAX_WAITING):
        world.apply(3, INVALID + "x")
    await world.judged()
    assert world.counting() == {"p": PERMIT}


async def test_of_more_revisions_than_may_wait_some_count_as_not_seen(world: World) -> None:
    world.apply(1, PERMIT)
    await world.judged()
    for generation in range(2, 5 * MAX_WAITING):
        world.apply(generation, INVALID + "x" * generation)
    await world.judged()
    assert world.counting() == {"p": f"{{{PERMIT}}}"}, "one of them may have withdrawn the permit"


async def test_jobs_wait_for_the_policy_that_was_applied_with_them_and_then_are_worked_on(world: World) -> None:
    world.apply(1, PERMIT)
    assert world.policies.held(JOB)
    assert not world.policies.held(Key(JOBS, "other", "job"))
    await world.judged()
    assert not world.policies.held(JOB)
    assert world.taken() == [JOB]
    world.apply(1, FORBID, "q", namespace="")
    assert world.policies.held(JOB), "what counts in the cluster counts for it too"
    await world.judged("q", namespace="")
    assert not world.policies.held(JOB)


async def test_a_flood_of_edits_holds_jobs_for_a_moment_only(world: World) -> None:
    world.apply(1, SLOW)
    assert world.policies.held(JOB)
    world.now += HOLD_SECONDS - 1
    world.apply(2, SLOW + " ")
    assert world.policies.held(JOB)
    world.now += 1
    assert not world.policies.held(JOB)


async def test_what_was_read_at_the_start_holds_the_jobs_of_its_namespace_until_it_is_judged(world: World) -> None:
    world.policies.judging._starting = True
    world.apply(1, SLOW)
    world.apply(1, PERMIT, "quick", namespace="quiet")
    assert not await world.policies.judging.first_judged(0.5)
    world.now += 10 * HOLD_SECONDS
    assert world.policies.held(JOB)
    await world.judged("quick", namespace="quiet")
    assert not world.policies.held(Key(JOBS, "quiet", "job"))
    world.apply(1, SLOW, "late", namespace="later")
    assert world.policies.held(Key(JOBS, "later", "job"))
    world.now += HOLD_SECONDS
    assert not world.policies.held(Key(JOBS, "later", "job")), "the start is over"


async def test_a_policy_whose_checker_is_killed_is_judged_all_the_same(world: World, tmp_path: Path) -> None:
    text = f"// once {tmp_path / 'mark'}"
    world.apply(1, text)
    await world.judged()
    assert world.counting() == {"p": text}
    world.apply(1, "// killed", "killed")
    world.apply(2, PERMIT, "killed")
    await world.until(lambda: world.policies.judging.waits(Key(POLICIES, "ns", "killed")))
    assert world.counting() == {"p": text}
