"""What an approver is shown of the jobs that wait: who asked, with which input, and why the call was denied."""

import json
from collections.abc import Iterable
from typing import Final

from cachetools import LRUCache

from curation.api.approval import MAX_ASKED, MAX_EXCERPT, Asked
from curation.api.clipping import clip
from curation.api.digest import input_digest, without_nulls
from curation.api.job import CurationJob
from curation.api.names import ANNOTATION_CREATED_BY, ANNOTATION_EDITED_BY, ANNOTATION_REQUESTED_BY, ConditionType
from curation.api.reading import Unreadable
from curation.cluster.cache import Cache, Stored
from curation.lifecycle import conditions
from curation.reconciler.runtime.key import Key

_REMEMBERED: Final = 2048
_PERSON: Final = 512
_WHY: Final = 1024


class AskedJobs:
    """Describes jobs from the cache; what an input says is computed once for each generation of a job."""

    def __init__(self, jobs: Cache) -> None:
        self._jobs = jobs
        self._inputs: LRUCache[str, tuple[int, str | None, str]] = LRUCache(_REMEMBERED)
        """By uid, with the generation that was read."""
        jobs.listen(self._on_change)

    def of(self, waiting: Iterable[Key], before: tuple[Asked, ...]) -> tuple[Asked, ...]:
        """The first 10 of those that wait, and after them those that have waited."""
        names = sorted(key.name for key in waiting)[:MAX_ASKED]
        namespaces = {key.name: key.namespace for key in waiting}
        known = {asked.job: asked for asked in before}
        now = {name: self._asked(namespaces[name], name) or known.get(name) for name in names}
        found = [asked for asked in now.values() if asked is not None]
        return (*found, *(asked for asked in before if asked.job not in now))[:MAX_ASKED]

    def _on_change(self, old: Stored | None, new: Stored | None) -> None:
        if old is not None and (new is None or new.uid != old.uid):
            self._inputs.pop(old.uid, None)

    def _asked(self, namespace: str, name: str) -> Asked | None:
        stored = self._jobs.get(namespace, name)
        try:
            job = stored.parse(CurationJob) if stored is not None else None
        except Unreadable:
            return None
        if job is None:
            return None
        annotations = job.metadata.annotations
        created, requested, edited = (
            clip(annotations[each], _PERSON) if annotations.get(each) else None
            for each in (ANNOTATION_CREATED_BY, ANNOTATION_REQUESTED_BY, ANNOTATION_EDITED_BY)
        )
        digest, excerpt = self._input(job)
        authorized = conditions.find(job.status.conditions, ConditionType.AUTHORIZED)
        denied = clip(authorized.message, _WHY) if authorized is not None and authorized.status == "False" else None
        return Asked(
            job=name,
            created_by=created,
            requested_by=requested,
            edited_by=edited,
            input_digest=digest,
            input=excerpt,
            denied=denied or None,
        )

    def _input(self, job: CurationJob) -> tuple[str | None, str]:
        # Bounded: an input over 64 KiB was never taken in.
        uid, generation = job.metadata.uid, job.metadata.generation
        found = self._inputs.get(uid)
        if found is None or found[0] != generation:
            value = without_nulls(job.spec.input)
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
            assert isinstance(value, dict)
            try:
                digest = input_digest(value)
            except ValueError:
                digest = None  # a number that RFC 8785 cannot spell: no run of it was ever claimed
            found = self._inputs[uid] = (generation, digest, clip(_stored(text), MAX_EXCERPT))
        return found[1:]


def _stored(text: str) -> str:
    """Without lone surrogates, which no request can carry."""
    return text.encode(errors="replace").decode()
