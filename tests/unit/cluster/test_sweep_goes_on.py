"""The sweep outlives whatever the server answers."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from curation.cluster.answers import APIError, Document, Unreachable
from curation.cluster.api import ClusterAPI
from curation.cluster.cache import Cache
from curation.cluster.resources import JOBS, ResourceKind
from curation.cluster.sweep import MissedDeleteSweep
from tests.unit.reconciler.virtual_time import in_virtual_time


class Answers:
    """What each list comes to: an error, or an item."""

    def __init__(self, *answers: Exception | Document) -> None:
        self._answers = list(answers)
        self.gone = asyncio.Event()

    async def list_metadata(self, *_: object) -> AsyncIterator[Document]:
        answer = self._answers.pop(0) if self._answers else None
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            yield answer

    async def get(self, _kind: ResourceKind, _namespace: str, _name: str) -> None:
        self.gone.set()


@pytest.mark.parametrize(
    "answer",
    [
        APIError(500, "", ""),
        Unreachable(""),
        KeyError("metadata"),
        {"metadata": {"uid": "x", "resourceVersion": "not a number"}},
        {"metadata": {"uid": "x"}},
        {},
    ],
    ids=repr,
)
@in_virtual_time
async def test_a_sweep_that_fails_is_followed_by_the_next(
    answer: Exception | Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, _: low)
    cache, answers = Cache(JOBS), Answers(answer)
    meta: dict[str, Any] = {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "1"}
    cache.put({"metadata": meta})
    sweep = MissedDeleteSweep(cast(ClusterAPI, answers), cache, namespaces=None)
    task = asyncio.create_task(sweep.run())
    await answers.gone.wait()
    await asyncio.sleep(1)
    assert cache.get("ns", "a") is None
    assert not task.done()
    task.cancel()
