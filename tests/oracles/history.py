"""Invariants over the watch history of one job (docs/fence.md): I1, I2, I3 and I10, and the bounds of a status.

The history is every version of one object (one uid) from its creation on, as raw documents, in any order and with
repetitions: a watch that was resumed shows some twice.

What separates the lives of a job is its template: `status.templateGeneration` is the generation at which the
template that the status is about was first seen. A status whose template is newer than its run speaks of a life
that has not claimed a run yet.
"""

from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from tests.oracles import flux, kstatus
from tests.oracles.versions import describe, revision

Document = dict[str, Any]
Life = tuple[str, int]

TERMINAL = frozenset({"Completed", "Failed"})
REPLACED = frozenset({"Superseded", "Abandoned"})
"""Outcomes of runs that did not end by themselves."""
MAX_ABANDONED_RUNS = 20
MAX_HISTORY = 5


def check_history(versions: Iterable[Document]) -> None:
    """Raise AssertionError with the offending pair of versions (or the one that is wrong by itself)."""
    ordered = sorted({revision(obj): obj for obj in versions}.values(), key=revision)
    uids = {obj["metadata"]["uid"] for obj in ordered}
    if len(uids) > 1:
        raise ValueError(f"these are versions of several objects: {sorted(uids)}")
    check_terminal(ordered)
    check_attempts(ordered)
    check_bounds(ordered)
    check_abandoned(ordered)
    flux.check_conditions(ordered)
    kstatus.check_truth(ordered)


def life(obj: Document) -> Life | None:
    """Which life of the job a version speaks of; None before the first status."""
    status = obj.get("status") or {}
    if not status.get("phase"):
        return None
    run, template = status.get("run"), status.get("templateGeneration")
    if run is None or (template is not None and run["generation"] < template):
        return ("template", template or 0)
    return ("run", run["generation"])


def check_terminal(ordered: list[Document]) -> None:
    """I1: at most one terminal transition per run.generation. I2: terminal is absorbing within a run.generation."""
    transitions: dict[Life, tuple[Document, Document]] = {}
    for before, after in pairwise(ordered):
        old, new = (obj.get("status", {}).get("phase") for obj in (before, after))
        was, now = life(before), life(after)
        if was == now and old in TERMINAL and new != old:
            _offend("I2: left a terminal phase within a run.generation", before, after)
        if now is not None and new in TERMINAL and (new != old or was != now):
            if now in transitions:
                _offend("I1: a second terminal transition within a run.generation", transitions[now][1], after)
            transitions[now] = (before, after)


def check_attempts(ordered: list[Document]) -> None:
    """I3: within a run.generation the attempt rises by one; observedGeneration never falls. A run is never removed."""
    seen: dict[int, int] = defaultdict(int)
    for before, after in pairwise([{"metadata": {}}, *ordered]):
        old, new = before.get("status") or {}, after.get("status") or {}
        if new.get("observedGeneration", -1) < old.get("observedGeneration", -1):
            _offend("I3: observedGeneration fell", before, after)
        earlier, later = old.get("run"), new.get("run")
        if earlier is not None and later is None:
            _offend("I3: the run was removed", before, after)
        if later is None or (earlier is not None and earlier["id"] == later["id"]):
            continue
        generation, attempt = later["generation"], later["attempt"]
        if earlier is not None and generation < earlier["generation"]:
            _offend("I3: run.generation fell", before, after)
        if attempt != seen[generation] + 1:
            _offend(f"I3: attempt {attempt} follows attempt {seen[generation]}", before, after)
        seen[generation] = attempt
        wanted = f"{after['metadata']['uid']}.g{generation}.a{attempt}"
        if later["id"] != wanted:
            _offend(f"I3: the run of this generation and attempt is {wanted}", before, after)


def check_bounds(ordered: list[Document]) -> None:
    """What a status may hold at most, and that a claim leaves room for one more abandoned run."""
    for before, after in pairwise([{"metadata": {}}, *ordered]):
        status, old = after.get("status") or {}, before.get("status") or {}
        abandoned = status.get("abandonedRuns") or []
        if len({entry["id"] for entry in abandoned}) != len(abandoned):
            _offend("a run is abandoned twice", before, after)
        claimed = (status.get("run") or {}).get("id") != (old.get("run") or {}).get("id")
        if len(abandoned) > MAX_ABANDONED_RUNS - (1 if claimed else 0):
            _offend(f"{len(abandoned)} abandoned runs", before, after)
        if len(status.get("history") or []) > MAX_HISTORY:
            _offend("more than 5 runs in the history", before, after)


def check_abandoned(ordered: list[Document]) -> None:
    """The write that ends a run which may still own a session also puts it among those to be cleaned."""
    for before, after in pairwise([{"metadata": {}}, *ordered]):
        status, old = after.get("status") or {}, before.get("status") or {}
        known = {(entry["id"], entry["outcome"]) for entry in old.get("history") or []}
        to_be_cleaned = {entry["id"] for entry in status.get("abandonedRuns") or []}
        for entry in status.get("history") or []:
            ended = entry["outcome"] in REPLACED or entry["reason"] == "DeadlineExceeded"
            if ended and (entry["id"], entry["outcome"]) not in known and entry["id"] not in to_be_cleaned:
                _offend(f"run {entry['id']} was replaced, and is not among those to be cleaned", before, after)


def _offend(what: str, before: Document, after: Document) -> None:
    first = describe(before) if before["metadata"] else "(nothing)"
    raise AssertionError(f"{what}:\n  {first}\n  {describe(after)}")
