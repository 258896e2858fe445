"""The API server's model (`tests.models.apiserver`) answers as a real API server does, on random sequences of requests.

The real object is of a private copy of the CurationJob CRD, so that the operator's admission policies, which the model
does not know, have no say.
"""

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
import yaml

from curation.cluster.cache import Cache
from curation.cluster.resources import ResourceKind
from curation.cluster.status_body import status_body
from curation.cluster.writer import condition
from testing.controlplane.connection import Connection
from tests.models.apiserver import ApiServer, Reply
from tests.models.documents import with_defaults

Document = dict[str, Any]

NAMES = ("one", "two")
FINALIZERS: tuple[list[str] | None, ...] = (None, [], ["test.dev/a"], ["test.dev/a", "test.dev/b"])
SPEC_EDITS: tuple[Document, ...] = (
    {"rerun": "1"},
    {"rerun": "2"},
    {"suspend": True},
    {"suspend": None},  # back to its default
    {"input": {"a": {"b": [1, 2.5, "x"]}}},
    {"input": None},
    {"retry": {"limit": 5}},
    {"retry": None},
    {"timeouts": {"queuedSeconds": 9}},
    {"timeouts": {"queuedSeconds": None}},
)
STATUSES: tuple[Document | None, ...] = (
    {"phase": "Queued", "reason": "Backoff", "observedGeneration": 1},
    {"phase": "Completed", "reason": None, "output": {"a": {"b": 1}}},
    {"output": {"a": None, "c": [1, {"d": 2}]}},
    {"output": None},
    {
        "abandonedRuns": [
            {"id": "r.g1.a1", "module": {"name": "m", "digest": "d"}, "since": "2030-01-01T00:00:00.000000Z"}
        ]
    },
    {"abandonedRuns": None, "message": "x"},
    {},
    None,  # all of it
)


@pytest.fixture(scope="module")
def private_kind(control_plane: Connection) -> Iterator[str]:
    """The plural and group of a kind with the schema of a CurationJob, and nothing else of the operator."""
    group = f"g{uuid4().hex[:8]}.test"
    crd = yaml.safe_load((Path(__file__).parents[2] / "crds" / "curationjobs.yaml").read_text())
    crd["metadata"] = {"name": f"curationjobs.{group}"}
    crd["spec"]["group"] = group
    crd["spec"]["names"] = {key: crd["spec"]["names"][key] for key in ("plural", "singular", "kind")}
    control_plane.kubectl("create", "-f", "-", input=json.dumps(crd))
    try:
        control_plane.kubectl("wait", "--for=condition=Established", f"crd/curationjobs.{group}", "--timeout=60s")
        yield group
    finally:
        control_plane.kubectl("delete", "crd", f"curationjobs.{group}", "--wait=false")


@dataclass
class Both:
    """The real server and its model, asked the same."""

    connection: Connection
    group: str
    prefix: str
    model: ApiServer = field(default_factory=lambda: ApiServer(lambda: "2030-01-01T00:00:00Z", with_defaults))
    versions: dict[str, str] = field(default_factory=dict)
    """resourceVersion of the real server to that of the model; each way one to one. The same for uids."""
    seen: list[tuple[str, Document, Document]] = field(default_factory=list)
    """(name, real, modelled) of every object that came back."""
    log: list[str] = field(default_factory=list)

    def ask(self, method: str, name: str, body: object = None, subresource: str = "") -> tuple[int, Any]:
        collection = f"/apis/{self.group}/v1alpha1/namespaces/default/curationjobs"
        path = collection if method == "POST" else f"{collection}/{self.prefix}{name}{subresource}"
        return self.connection.request(method, path, body)

    def put_status(self, name: str, seen: Document, patch: Document) -> tuple[int, Any]:
        """Change the status of that version by the operator's own PUT."""
        kind = ResourceKind("CurationJob", "curationjobs", self.group)
        cache = Cache(kind)
        cache.put(seen)
        body = status_body(kind, next(iter(cache)), patch)
        assert body is not None
        return self.ask("PUT", name, condition(body, seen["metadata"]["resourceVersion"]), "/status")

    def compare(self, what: str, name: str, real: tuple[int, Any], modelled: Reply, *, removed: bool = False) -> None:
        code, obj = real
        self.log.append(f"{what}: {code}")
        assert code == modelled.code, f"the model says {modelled.code} to {self.log}: {obj}"
        if code not in (200, 201) or removed:
            return
        for key in ("resourceVersion", "uid"):
            mine, theirs = modelled.written["metadata"][key], obj["metadata"][key]
            assert self.versions.setdefault(theirs, mine) == mine, f"{key} differs after {self.log}"
            assert list(self.versions.values()).count(mine) == 1, f"{key} differs after {self.log}"
        assert comparable(obj) == comparable(modelled.written), f"after {self.log}"
        self.seen.append((name, obj, modelled.written))

    def settle(self, name: str) -> None:
        """Have the real server write the managedFields of a new object, which are no part of the model.

        It completes them at the first update, whatever that changes, and so bumps the resourceVersion once.
        """
        _, obj = self.ask("PATCH", name, {"spec": {}})
        _, before, modelled = self.seen.pop()
        del self.versions[before["metadata"]["resourceVersion"]]
        self.versions[obj["metadata"]["resourceVersion"]] = modelled["metadata"]["resourceVersion"]
        self.seen.append((name, obj, modelled))


def comparable(obj: Document) -> Document:
    """What must be the same on both sides."""
    document: Document = copy.deepcopy({key: obj[key] for key in ("metadata", "spec", "status") if key in obj})
    metadata = document["metadata"]
    for key in ("managedFields", "namespace", "name", "selfLink", "resourceVersion", "uid"):
        metadata.pop(key, None)
    for key in ("creationTimestamp", "deletionTimestamp"):
        if key in metadata:
            metadata[key] = "some time"
    return document


def _step(both: Both, random: Random) -> None:
    name = random.choice(NAMES)
    earlier = [(real, modelled) for known, real, modelled in both.seen if known == name]
    newest = both.model.get(name).obj
    act = random.choice(["create", "spec", "metadata", "status", "status", "status", "delete", "get"])
    if act == "create" or (newest is None and random.random() < 0.5):
        metadata = {"finalizers": random.choice(FINALIZERS) or [], "labels": {"a": "b"}}
        spec = {"moduleRef": {"name": "m"}, "rerun": random.choice("12")}
        body = {
            "apiVersion": f"{both.group}/v1alpha1",
            "kind": "CurationJob",
            "metadata": {**metadata, "name": both.prefix + name},
            "spec": spec,
            "status": {"phase": "Completed"},  # is not taken
        }
        both.compare(f"create {metadata}", name, both.ask("POST", name, body), both.model.create(name, spec, metadata))
        if newest is None:
            both.settle(name)
        return
    if act == "get":
        both.compare("get", name, both.ask("GET", name), both.model.get(name))
        return
    # Conditioned on the newest version, on an earlier one (of an earlier object of the name, perhaps), or on none.
    condition = random.choice(earlier[-1:] * 3 + earlier + [None]) if earlier else None
    if act == "delete":
        _delete(both, name, random, condition)
        return
    real_body: Document
    if act == "spec":
        real_body = {"spec": random.choice(SPEC_EDITS)}
    elif act == "metadata":
        real_body = {"metadata": {"labels": {"a": random.choice("bc")}, "finalizers": random.choice(FINALIZERS)}}
    else:
        real_body = {"status": random.choice(STATUSES)}
        if random.random() < 0.3:
            real_body |= {"spec": {"rerun": "ignored"}, "metadata": {"labels": {"a": "ignored"}, "generation": 77}}
    model_body: Document = copy.deepcopy(real_body)
    if condition is not None:
        for patch, version in ((real_body, condition[0]), (model_body, condition[1])):
            patch["metadata"] = {**patch.get("metadata", {}), "resourceVersion": version["metadata"]["resourceVersion"]}
    if act == "status" and condition is not None and real_body["status"] is not None and random.random() < 0.5:
        # As the operator writes it; the model knows the patch only, which must come to the same.
        real = both.put_status(name, condition[0], real_body["status"])
    else:
        real = both.ask("PATCH", name, real_body, "/status" if act == "status" else "")
    modelled = both.model.patch(name, model_body, "status" if act == "status" else None)
    removed = newest is not None and both.model.get(name).obj is None
    both.compare(f"{act} {real_body}", name, real, modelled, removed=removed)
    both.compare("get", name, both.ask("GET", name), both.model.get(name))


def _delete(both: Both, name: str, random: Random, condition: tuple[Document, Document] | None) -> None:
    preconditions: list[dict[str, str]] = [{}, {}]
    if condition is not None:
        keys = random.choice([("uid",), ("resourceVersion",), ("uid", "resourceVersion")])
        preconditions = [{key: obj["metadata"][key] for key in keys} for obj in condition]
    real = both.ask("DELETE", name, {"preconditions": preconditions[0]} if preconditions[0] else None)
    modelled = both.model.delete(
        name, uid=preconditions[1].get("uid"), resource_version=preconditions[1].get("resourceVersion")
    )
    # The answer to a deletion is the object or a metav1.Status; what is left shows which.
    both.compare(f"delete {preconditions[0]}", name, real, modelled, removed=True)
    both.compare("get", name, both.ask("GET", name), both.model.get(name))


@pytest.mark.parametrize("number", range(12))
def test_the_model_answers_as_the_real_api_server(control_plane: Connection, private_kind: str, number: int) -> None:
    both, random = Both(control_plane, private_kind, f"s{number}-"), Random(number)
    for _ in range(60):
        _step(both, random)
    codes = {entry.rsplit(": ", 1)[1] for entry in both.log}
    assert {"200", "201", "409"} <= codes, "the sequence is too tame"


def test_a_deletion_that_waits_bumps_the_generation_once_and_takes_no_new_finalizer(
    control_plane: Connection, private_kind: str
) -> None:
    both = Both(control_plane, private_kind, "waits-")
    body = {
        "apiVersion": f"{private_kind}/v1alpha1",
        "kind": "CurationJob",
        "metadata": {"name": "waits-one", "finalizers": ["test.dev/a"]},
        "spec": {"moduleRef": {"name": "m"}},
    }
    created = both.model.create("one", {"moduleRef": {"name": "m"}}, {"finalizers": ["test.dev/a"]})
    both.compare("create", "one", both.ask("POST", "one", body), created)
    both.settle("one")
    for _ in range(2):
        both.compare("delete", "one", both.ask("DELETE", "one"), both.model.delete("one"), removed=True)
        both.compare("get", "one", both.ask("GET", "one"), both.model.get("one"))
    assert both.seen[-1][1]["metadata"]["generation"] == 2
    more = {"metadata": {"finalizers": ["test.dev/a", "test.dev/b"]}}
    both.compare("add", "one", both.ask("PATCH", "one", more), both.model.patch("one", more))
    status = {"status": {"phase": "Failed"}}
    both.compare(
        "status", "one", both.ask("PATCH", "one", status, "/status"), both.model.patch("one", status, "status")
    )
    none: Document = {"metadata": {"finalizers": None}}
    last = both.ask("PATCH", "one", none)
    both.compare("remove", "one", last, both.model.patch("one", none), removed=True)
    both.compare("get", "one", both.ask("GET", "one"), both.model.get("one"))
