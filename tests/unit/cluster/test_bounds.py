"""What is taken in of an object: kept form, mark, and that nothing of it is parsed before its size is known.

Matrix: kind (job, other) x part (input, config, labels, annotations, managedFields, owners, finalizers, output,
progress) x (within, over its bound; shallow, deep; escaped).
"""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from curation.api.excess import EXCESS_FIELD
from curation.api.job import MAX_INPUT_BYTES, CurationJob, JobStatus
from curation.api.module import ModuleStatus
from curation.api.names import MAX_CEDAR_BYTES, REQUESTER_ANNOTATIONS, Phase
from curation.api.policy import ClusterCurationPolicy, CurationPolicy
from curation.authz.policy_review import cedar_digest
from curation.cluster.bounds import (
    MAX_ABANDONED,
    MAX_FINALIZERS,
    MAX_INPUT_WITH_NULLS,
    MAX_KEYS,
    MAX_LABELS,
    MAX_STATUS_FIELD,
)
from curation.cluster.cache import Cache, Stored
from curation.cluster.intake import cut_event, cut_object, cut_page
from curation.cluster.resources import (
    APPROVALS,
    CLUSTER_POLICIES,
    CONFIG_MAPS,
    JOBS,
    MODULES,
    POLICIES,
    SECRETS,
    ResourceKind,
)
from curation.lifecycle.conditions import derive
from curation.lifecycle.decide import decide
from curation.lifecycle.draft import message_of
from curation.lifecycle.outcome import Liveness
from curation.lifecycle.template import template_of
from curation.reconciler.approvals.waiters import requesters_of
from curation.reconciler.runtime.writes import module_conditions
from tests.unit.lifecycle.builders import facts, running, stored

Document = dict[str, Any]


def job(*, metadata: Document | None = None, status: Document | None = None, **spec: Any) -> Document:
    meta = {"name": "a", "namespace": "ns", "uid": "u", "resourceVersion": "7", "generation": 2}
    return {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": "CurationJob",
        "metadata": {**meta, **(metadata or {})},
        "spec": {"moduleRef": {"name": "m"}, **spec},
        **({"status": status} if status else {}),
    }


def go_json(document: Any) -> bytes:
    """As Go's encoder writes it."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text.encode()


def kept(document: Document) -> Document:
    found: Document = json.loads(cut_object(go_json(document), JOBS))
    return found


def cached(document: Document) -> Stored:
    cache = Cache(JOBS)
    cache.put(kept(document))
    held = cache.get("ns", "a")
    assert held is not None
    return held


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def test_what_is_within_its_bounds_is_kept_as_it_is() -> None:
    document = job(
        input={"text": "<&>é\u2028" * 100, "deep": nested(60)},
        config={"a": "b"},
        suspend=True,
        metadata={
            "labels": {"a": "b"},
            "annotations": {"curation.dev/created-by": "me", "other": "x"},
            "finalizers": ["a/b", "curation.dev/session"],
            "deletionTimestamp": "2026-01-01T00:00:00Z",
        },
        status={"phase": "Running", "output": {"a": [1]}, "newerField": {"x": 1}},
    )
    assert kept(document) == document


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ({"input": {"text": "x" * 2 * MAX_INPUT_WITH_NULLS}}, "spec.input", str(MAX_INPUT_BYTES)),
        ({"input": {"many": [0] * 700_000}}, "spec.input", str(MAX_INPUT_BYTES)),
        ({"input": {"deep": nested(300)}}, "spec.input", "deeper than 64"),
        ({"input": {"deep": nested(900)}}, "spec.input", "deeper than 64"),
        ({"config": {"k": "x" * 200_000}}, "spec.config", "spec.config is 200008 bytes"),
    ],
    ids=["long", "many", "deep", "very deep", "another field"],
)
def test_a_part_of_a_spec_over_its_bound_is_left_out_and_named(spec: Document, field: str, says: str) -> None:
    held = cached(job(**spec, suspend=True))
    excess = held.parse(CurationJob).excess
    assert excess is not None
    assert excess.field == field
    assert says in excess.message
    assert len(held.body) < 2000
    known = held.parse(CurationJob)
    assert (known.spec.module_ref.name, known.spec.suspend) == ("m", True)
    step = decide(known, facts())
    assert step.add_finalizer
    known = known.model_copy(
        update={"metadata": known.metadata.model_copy(update={"finalizers": ("curation.dev/session",)})}
    )
    status = decide(known, facts()).status
    assert (status.phase, status.reason, status.observed_generation) == ("Failed", "InvalidSpec", 2)
    assert field in status.message


def test_another_text_over_the_bound_is_another_template() -> None:
    one, same, other = (
        cached(job(input={"text": sign * 2 * MAX_INPUT_WITH_NULLS})).parse(CurationJob) for sign in ("x", "x", "y")
    )
    assert template_of(one).digest == template_of(same).digest != template_of(other).digest
    mended = cached(job(input={"text": "x"})).parse(CurationJob)
    assert template_of(mended).digest != template_of(one).digest


def test_what_gos_encoder_escapes_counts_as_one_character() -> None:
    text = "<" * (MAX_INPUT_BYTES - len('{"text":""}'))
    assert cached(job(input={"text": text})).parse(CurationJob).excess is None
    assert template_of(cached(job(input={"text": text})).parse(CurationJob)).problem == ""


def test_a_job_in_flight_whose_labels_are_over_the_bound_ends_and_its_run_is_cleaned() -> None:
    labels = {f"label-{number}": "x" * 60 for number in range(MAX_LABELS // 60)}
    before = running()
    document = before.model_dump(mode="json", by_alias=True, exclude_none=True)
    document["metadata"]["labels"] = labels
    held = Cache(JOBS)
    held.put(kept(document))
    version = held.get(before.metadata.namespace, before.metadata.name)
    assert version is not None
    assert version.parse(CurationJob).excess is not None
    seen = version.parse(CurationJob)
    assert seen.metadata.labels == {}
    status = decide(seen, facts(liveness=Liveness.ALIVE)).status
    assert (status.phase, status.reason) == ("Failed", "InvalidSpec")
    assert "metadata.labels" in status.message
    assert [entry.session is not None for entry in status.abandoned_runs] == [True]
    after = stored(seen, status)
    assert decide(after, facts()).status == after.status


def test_what_others_write_into_the_metadata_is_not_kept() -> None:
    held = cached(
        job(
            metadata={
                "managedFields": [{"manager": "x" * 100_000}],
                "ownerReferences": [{"uid": str(number)} for number in range(10_000)],
                "annotations": {
                    **{f"a{number}": "y" * 20 for number in range(8_000)},
                    "fake": '"curation.dev/created-by":"somebody else"',
                    "curation.dev/created-by": 'me "quoted" \\ back',
                    "curation.dev/observe-requested-at": "now",
                },
            }
        )
    )
    assert held.parse(CurationJob).excess is None
    assert len(held.body) < 1000
    assert held.parse(CurationJob).metadata.annotations == {
        "curation.dev/created-by": 'me "quoted" \\ back',
        "curation.dev/observe-requested-at": "now",
    }


def test_no_annotation_takes_the_place_of_those_that_say_who_asks() -> None:
    asked = {name: f'{name} <of> "{"x" * 1500}"' for name in REQUESTER_ANNOTATIONS}
    others = {f"curation.dev/{letter}{number}": "z" * 60 for letter in "adz" for number in range(100)}
    # As Go's encoder writes them: in the order of their names.
    annotations = dict(sorted({**asked, **others}.items()))
    known = cached(job(metadata={"annotations": annotations})).parse(CurationJob)
    assert known.metadata.annotations == asked
    assert requesters_of(known) == frozenset(asked.values())


def test_a_list_of_finalizers_that_is_known_in_part_is_never_written() -> None:
    others = [f"example.com/f{number}" for number in range(MAX_FINALIZERS // 10)]
    for ours in ([], ["curation.dev/session"]):
        for more in ({}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}):
            held = cached(job(metadata={"finalizers": [*others, *ours], **more}))
            known = held.parse(CurationJob)
            assert list(known.metadata.finalizers) == ours
            assert known.metadata.finalizers_cut
            step = decide(known, facts())
            assert not step.add_finalizer
            assert not step.remove_finalizer


def test_of_a_status_that_no_operator_wrote_what_a_cancel_needs_is_kept() -> None:
    session = {"id": "s", "runID": "r", "spawnedAt": "2026-01-01T00:00:00Z", "progress": {"x": "y" * MAX_STATUS_FIELD}}
    entry = {"id": "r0", "module": {"name": "m", "digest": "d"}, "since": "2026-01-01T00:00:00Z"}
    status = {"phase": "Running", "session": session, "output": {"x": nested(500)}, "abandonedRuns": [entry]}
    held = cached(job(status=status))
    assert "curation.dev/excess" not in held.document()
    known = held.document()["status"]
    assert known == {
        "phase": "Running",
        "session": {name: value for name, value in session.items() if name != "progress"},
        "abandonedRuns": [entry],
    }
    many = [{**entry, "id": f"r{number}", "config": {"k": "x" * 9000}} for number in range(20)]
    assert len(cached(job(status={"abandonedRuns": many})).document()["status"]["abandonedRuns"]) == 20
    many = [{**entry, "id": f"r{number}", "config": {"k": "\x01" * 4000, "l": "\x02" * 4000}} for number in range(20)]
    assert len(cached(job(status={"abandonedRuns": many})).document()["status"]["abandonedRuns"]) == 20
    more = [{**entry, "config": {"k": "x" * MAX_ABANDONED}}]
    assert "abandonedRuns" not in cached(job(status={"abandonedRuns": more})).document()["status"]


def test_a_policy_of_the_largest_text_is_kept_and_its_labels_are_not() -> None:
    cedar = "// " + "<é" * 30_000
    document = {"metadata": {"name": "p", "labels": {f"l{n}": "x" * 60 for n in range(1000)}}, "spec": {"cedar": cedar}}
    found = json.loads(cut_object(go_json(document), POLICIES))
    assert CurationPolicy.model_validate(found).spec.cedar == cedar
    assert "labels" not in found["metadata"]
    assert "curation.dev/excess" not in found


@pytest.mark.parametrize("line", ["permit(principal, action, resource);\n", "// é\n", "// <\x01\n"])
def test_of_a_policy_of_the_largest_text_the_revision_in_force_is_kept(line: str) -> None:
    text = line * (MAX_CEDAR_BYTES // len(line))
    in_force = {"uid": "u", "generation": 1, "digest": cedar_digest(text), "cedar": text}
    document = {
        "metadata": {"name": "p", "uid": "u", "generation": 2},
        "spec": {"cedar": "permit("},
        "status": {"inForce": in_force, "conditions": []},
    }
    for kind, model in ((POLICIES, CurationPolicy), (CLUSTER_POLICIES, ClusterCurationPolicy)):
        found = model.model_validate(json.loads(cut_object(go_json(document), kind)))
        assert found.status.in_force is not None
        assert found.status.in_force.cedar == text


@pytest.mark.parametrize("char", ["x", "é", "\x01", "<"])
def test_the_longest_conditions_that_the_operator_writes_are_kept(char: str) -> None:
    now, said = datetime(2026, 1, 1, tzinfo=UTC), char * 100_000
    of_module = module_conditions((), False, True, "AbiMismatch", said, 1, now)
    failed = JobStatus(phase=Phase.FAILED, reason="ModuleError", message=message_of(said))
    of_job = derive(failed, now, authorized=("False", message_of(said)))
    for kind, status in (
        (MODULES, ModuleStatus(conditions=of_module)),
        (JOBS, failed.model_copy(update={"conditions": of_job})),
    ):
        document = {"metadata": {"name": "m", "uid": "u", "resourceVersion": "1"}, "status": status.to_wire()}
        assert json.loads(cut_object(go_json(document), kind)) == document


def test_a_forged_mark_does_not_count() -> None:
    forged = {**job(), "curation.dev/excess": {"field": "spec.input", "message": "x", "digest": ""}}
    forged["metadata"]["curation.dev/excess-finalizers"] = True
    held = cached(forged)
    assert held.parse(CurationJob).excess is None
    assert not held.parse(CurationJob).metadata.finalizers_cut


def test_pages_and_events_are_cut_object_by_object() -> None:
    large = job(input={"many": [0] * 100_000})
    page = {"kind": "CurationJobList", "apiVersion": "x/v1", "metadata": {"continue": "c"}, "items": [job(), large]}
    found = json.loads(cut_page(go_json(page), JOBS))
    assert found["metadata"] == {"continue": "c"}
    assert found["kind"] == "CurationJobList"
    assert [item.get("curation.dev/excess", {}).get("field") for item in found["items"]] == [None, "spec.input"]
    event = json.loads(cut_event(go_json({"type": "MODIFIED", "object": large}), JOBS))
    assert event["type"] == "MODIFIED"
    assert event["object"]["curation.dev/excess"]["field"] == "spec.input"
    for kind in ("BOOKMARK", "ERROR"):
        line = go_json({"type": kind, "object": {"kind": "Status", "code": 410, "metadata": {}}})
        assert cut_event(line, JOBS) == line + b"\n"


def test_what_is_no_object_passes_as_it_is() -> None:
    for text in (b"", b"[]", b"no json", b'{"kind":"Status","code":500}', b'{"metadata":"x"}'):
        assert cut_object(text, APPROVALS) == text
    for text in (b"", b"[]", b"no json", b'{"kind":"Status","code":500}', b'{"metadata":{},"items":{}}'):
        assert cut_page(text, APPROVALS) == text


def test_of_a_config_map_the_data_is_kept() -> None:
    document = {
        "metadata": {"name": "c", "uid": "u", "resourceVersion": "1", "annotations": {"a": "b"}, "managedFields": [1]},
        "data": {"k": "<v>"},
        "binaryData": {"b": "AA=="},
    }
    found = json.loads(cut_object(go_json(document), CONFIG_MAPS))
    assert (found["data"], found["binaryData"]) == (document["data"], document["binaryData"])
    assert found["metadata"] == {"name": "c", "uid": "u", "resourceVersion": "1"}


@pytest.mark.parametrize("kind", [CONFIG_MAPS, SECRETS])
def test_the_keys_of_a_config_map_or_secret_are_counted_before_they_are_read(kind: ResourceKind) -> None:
    meta = {"name": "c", "uid": "u", "resourceVersion": "1"}
    # A text that looks like many keys is one value.
    few = {"data": {f"k{number}": '"a":"b",' * 9 for number in range(MAX_KEYS)}}
    assert json.loads(cut_object(go_json({"metadata": meta, **few}), kind)) == {"metadata": meta, **few}
    for field in ("data", "binaryData"):
        many = {field: {f"{number:x}": "" for number in range(MAX_KEYS + 1)}}
        cut = json.loads(cut_object(go_json({"metadata": meta, **many}), kind))
        assert cut == {"metadata": meta, EXCESS_FIELD: True}
    forged = {"metadata": meta, "data": {"k": "v"}, EXCESS_FIELD: True}
    assert EXCESS_FIELD not in json.loads(cut_object(go_json(forged), kind))


@pytest.mark.parametrize(
    "value",
    [[0] * 700_000, [[]] * 460_000, {f"k{n}": n for n in range(100_000)}],
    ids=["numbers", "lists", "keys"],
)
def test_to_cut_a_large_object_costs_a_small_part_of_parsing_it(value: Any) -> None:
    line = go_json({"type": "MODIFIED", "object": job(input={"value": value})})
    took = []
    for work in (lambda: cut_event(line, JOBS), lambda: json.dumps(json.loads(line))):
        best = float("inf")
        for _ in range(3):
            begun = time.process_time()
            work()
            best = min(best, time.process_time() - begun)
        took.append(best)
    assert took[0] < took[1] / 2
