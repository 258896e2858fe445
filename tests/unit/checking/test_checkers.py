"""Checkers, as real processes: the same answers as in this one, whose turn it is, and what a hostile text can do."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from curation.checking import checkers as under_test
from curation.checking.checkers import EVERYWHERE, CheckerLost, Checkers
from curation.checking.policy_judgement import judge_policy

ALL = "permit (principal, action, resource);"
TEXTS = [
    "",
    ALL,
    ALL + "\n\ud800",
    "permit (principal, action, resource) when { context.hots };",
    'permit (principal == Agent::"m", action, resource == HttpEndpoint::"Sessions.Example.COM");',
    "nonsense" * 1000,
    "é" * 70_000,
]


@pytest.fixture
async def checkers() -> AsyncIterator[Checkers]:
    made = Checkers()
    yield made
    await made.close()


@pytest.fixture
async def told(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Checkers]:
    """Checkers that do what a text tells them to."""
    monkeypatch.setattr(under_test, "_TARGET", "tests.peers.checkers:main")
    monkeypatch.setattr(under_test, "CPU_SECONDS", 1)
    made = Checkers()
    yield made
    await made.close()


def processes() -> set[int]:
    found = set[int]()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if int((path / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(path.name))
        except OSError:
            continue
    return found


async def test_a_checker_gives_the_answer_that_this_process_would_give(checkers: Checkers) -> None:
    for text in TEXTS:
        for namespace in ("team-a", EVERYWHERE):
            here = judge_policy(text, cluster=namespace == EVERYWHERE)
            assert await checkers.judge_policy(text, namespace=namespace) == here


async def test_a_text_that_nobody_looks_at_is_refused_before_it_is_sent(checkers: Checkers) -> None:
    before = processes()
    judgement = await checkers.judge_policy("x" * (1 << 20), namespace="a")
    assert not judgement.check.valid
    assert "split it" in judgement.check.message
    assert processes() == before


async def test_one_namespace_has_one_checker_and_leaves_the_other_to_others(told: Checkers) -> None:
    floods = [asyncio.create_task(told.judge_policy("// sleep 300", namespace="flood")) for _ in range(50)]
    await asyncio.sleep(0)
    async with asyncio.timeout(120):
        for _ in range(3):
            assert (await told.judge_policy(ALL, namespace="quiet")).check.valid
    assert not any(task.done() for task in floods)
    await told.close()
    ended = await asyncio.gather(*floods, return_exceptions=True)
    assert {type(each) for each in ended} <= {CheckerLost, asyncio.CancelledError}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("// spin", "more than 1 s of processor time"),
        ("// memory", "more than 512 MiB"),
        ("// crash", "ended the checker, twice"),
    ],
)
async def test_what_takes_too_much_is_refused_and_the_next_is_answered(told: Checkers, text: str, said: str) -> None:
    async with asyncio.timeout(300):
        judgement = await told.judge_policy(text, namespace="a")
        assert not judgement.check.valid
        assert said in judgement.check.message
        assert (await told.judge_policy(ALL, namespace="a")).check.valid


async def test_a_checker_that_somebody_kills_says_nothing_about_a_text(told: Checkers, tmp_path: Path) -> None:
    async with asyncio.timeout(300):
        with pytest.raises(CheckerLost, match="signal 9"):
            await told.judge_policy("// killed", namespace="a")
        assert (await told.judge_policy(f"// once {tmp_path / 'mark'}", namespace="a")).check.valid


async def test_an_idle_checker_ends_and_none_is_left_behind() -> None:
    before = processes()
    checkers = Checkers(idle_seconds=0.01)
    assert (await checkers.judge_policy(ALL, namespace="a")).check.valid
    async with asyncio.timeout(60):
        while processes() != before:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)
    assert (await checkers.judge_policy(ALL, namespace="a")).check.valid
    await checkers.close()
    assert processes() == before
    with pytest.raises(CheckerLost):
        await checkers.judge_policy(ALL, namespace="a")
