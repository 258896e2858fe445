"""What a status write costs the API server and etcd, by the form of the object: the same writes, interleaved.

Run: ``python -m bench.object_cost [--rounds 3] [--jobs 200] [--json FILE] [--check]``. Each round makes the three
status writes of a job with a session (claim, Running, Completed) for so many jobs of each form, in turns of a few jobs:

- before: status is granular (its values have owners), all seven conditions are always written, by a merge patch;
- patched: status is atomic, and a condition that says nothing is left out; by a merge patch, as the operator writes a
  status that it does not know whole;
- after: the same by a PUT of the status alone, as the operator writes it: the body is made by its own code.

Processor time is that of the processes; what was allocated is the API server's own count. Nothing else may use the
control plane meanwhile; what else the machine does disturbs all forms alike.
"""

import asyncio
import copy
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from bench import options
from bench.client import JOBS_PATH, Client
from bench.fixtures import WITH_SESSION, job
from bench.results import Result
from bench.stage import Stage
from bench.statuses import put, statuses
from curation.api.crd import CRD_KINDS, crd
from curation.api.job import status_to_wire
from curation.api.names import ConditionType
from curation.cluster.mergepatch import merge_patch
from curation.cluster.writer import condition

Document = dict[str, Any]

NAMESPACE: Final = "bench"
TURN: Final = 20
"""Jobs of one form in a row."""
_OLD_GROUP: Final = "before.curation.dev"
_MALLOCS: Final = re.compile(r"^go_memstats_mallocs_total (\S+)$", re.MULTILINE)
_BYTES: Final = re.compile(r"^go_memstats_alloc_bytes_total (\S+)$", re.MULTILINE)
FORMS: Final = ("before", "patched", "after")


@dataclass
class Cost:
    """What so many writes took."""

    writes: int = 0
    server: float = 0.0
    etcd: float = 0.0
    objects: float = 0.0
    allocated: float = 0.0
    stored: list[int] = field(default_factory=list)
    """Bytes of each job as it is answered after its last write."""

    @property
    def cpu(self) -> float:
        """Milliseconds of processor time of a write, of the API server and etcd together."""
        return 1000 * (self.server + self.etcd) / self.writes


def old_crd() -> Document:
    """The CRD of jobs as it was: its status without the mark that makes it atomic. In a group of its own."""
    made = copy.deepcopy(crd(CRD_KINDS[0]))
    made["metadata"]["name"] = f"curationjobs.{_OLD_GROUP}"
    made["spec"]["group"] = _OLD_GROUP
    made["spec"]["names"]["shortNames"], made["spec"]["names"]["categories"] = ["oldcjob"], []
    status = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    del status["x-kubernetes-map-type"]
    return made


def with_all_conditions(status: Document) -> Document:
    """The status as it was written: what is not True has a condition, too."""
    if "conditions" not in status:
        return status
    known = {condition["type"]: condition for condition in status["conditions"]}
    silent = {"Succeeded": "Unknown", "Authorized": "Unknown"}
    absent = {"Authorized": ("NotAsked", "No outbound call has been decided yet."), "Suspended": ("NotSuspended", "")}
    full = []
    for kind in ConditionType:
        reason, message = absent.get(kind, (known["Ready"]["reason"], ""))
        state = silent.get(kind, "False")
        told = {"type": kind.value, "status": state, "reason": reason, "message": message}
        full.append(known.get(kind.value) or {**known["Ready"], **told})
    return {**status, "conditions": full}


class _Form:
    def __init__(self, name: str, client: Client) -> None:
        self._name, self._client = name, client
        path = JOBS_PATH.format(namespace=NAMESPACE)
        self._path = path.replace("/curation.dev/", f"/{_OLD_GROUP}/") if name == "before" else path
        self._version = f"{_OLD_GROUP if name == 'before' else 'curation.dev'}/v1alpha1"

    async def make(self, names: Sequence[str]) -> list[Document]:
        made: list[Document] = []

        async def one(name: str) -> None:
            document = {**job(name, WITH_SESSION, "http://127.0.0.1:8080"), "apiVersion": self._version}
            document["metadata"] = {**document["metadata"], "finalizers": ["curation.dev/session"]}
            document["metadata"]["annotations"] = {"curation.dev/created-by": "bench"}
            made.append(await self._client.call("POST", self._path, document))

        await self._client.spread(one, names)
        return made

    async def write(self, made: Sequence[Document], cost: Cost) -> None:
        async def one(document: Document) -> None:
            wires = [status_to_wire(status) for status in statuses(document)]
            if self._name == "before":
                wires = [with_all_conditions(wire) for wire in wires]
            path = f"{self._path}/{document['metadata']['name']}/status?fieldManager=curation-operator"
            for old, new in itertools.pairwise(wires):
                version, patch = document["metadata"]["resourceVersion"], merge_patch(old, new) or {}
                if self._name == "after":
                    document = await self._client.call("PUT", path, condition(put(document, patch), version))
                else:
                    document = await self._client.call("PATCH", path, condition({"status": patch}, version))
                cost.writes += 1
            assert document["status"]["phase"] == "Completed"
            cost.stored.append(len(str(document)))

        await self._client.spread(one, made)


async def measure(rounds: int, jobs: int) -> list[Result]:
    """All forms, in turns."""
    async with Stage() as stage, Client(stage.control_plane.kubeconfig(), connections=8) as client:
        await client.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        await client.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", old_crd())
        forms = {name: _Form(name, client) for name in FORMS}
        await _until_served(client)
        await _turn(stage, client, forms, "warm", {name: Cost() for name in FORMS})
        costs: list[dict[str, Cost]] = []
        for number in range(rounds):
            costs.append({name: Cost() for name in FORMS})
            for turn in range(jobs // TURN):
                await _turn(stage, client, forms, f"r{number}-{turn}", costs[-1])
            options.progress(
                f"round {number + 1}: "
                + ", ".join(f"{name} {cost.cpu:.2f} ms a write" for name, cost in costs[-1].items())
            )
    return _results(costs)


async def _until_served(client: Client) -> None:
    path = JOBS_PATH.format(namespace=NAMESPACE).replace("/curation.dev/", f"/{_OLD_GROUP}/")
    for _ in range(600):
        async with client.send("GET", path) as answer:
            if answer.status == 200:
                return
        await asyncio.sleep(0.1)
    raise RuntimeError("the CRD of before is not served")


async def _turn(stage: Stage, client: Client, forms: dict[str, _Form], prefix: str, costs: dict[str, Cost]) -> None:
    for name, form in forms.items():
        made = await form.make([f"{prefix}-{name}-{number}" for number in range(TURN)])
        cpu, counted = stage.cpu(), await _allocations(client)
        await form.write(made, costs[name])
        after, counts = stage.cpu(), await _allocations(client)
        cost = costs[name]
        cost.server += after["kube-apiserver"] - cpu["kube-apiserver"]
        cost.etcd += after["etcd"] - cpu["etcd"]
        cost.objects += counts[0] - counted[0]
        cost.allocated += counts[1] - counted[1]


async def _allocations(client: Client) -> tuple[float, float]:
    async with client.send("GET", "/metrics") as answer:
        text = await answer.text()
    found = [pattern.search(text) for pattern in (_MALLOCS, _BYTES)]
    assert all(found)
    objects, allocated = (float(match[1]) for match in found if match is not None)
    return objects, allocated


def _results(costs: list[dict[str, Cost]]) -> list[Result]:
    results = []
    for name in FORMS:
        of = [cost[name] for cost in costs]
        results += [
            Result(f"{name}: processor time of a status write", median(cost.cpu for cost in of), "ms"),
            Result(f"{name}: of it etcd", median(1000 * cost.etcd / cost.writes for cost in of), "ms"),
            Result(f"{name}: objects allocated by a write", median(cost.objects / cost.writes for cost in of), ""),
            Result(
                f"{name}: memory allocated by a write", median(cost.allocated / cost.writes for cost in of), "bytes"
            ),
            Result(f"{name}: size of a finished job", median(size for cost in of for size in cost.stored), "bytes"),
            Result(f"{name}: writes", sum(cost.writes for cost in of), ""),
        ]
    for name in FORMS[1:]:
        cpu = [cost[name].cpu / cost["before"].cpu for cost in costs]
        objects = [
            (cost[name].objects / cost[name].writes) / (cost["before"].objects / cost["before"].writes)
            for cost in costs
        ]
        results += [
            Result(f"{name}: processor time, of before", median(cpu), "", "at most 0.75"),
            Result(f"{name}: its spread", max(cpu) - min(cpu), ""),
            Result(f"{name}: objects allocated, of before", median(objects), ""),
            Result(f"{name}: their spread", max(objects) - min(objects), ""),
        ]
    return results


def main() -> None:
    """The command line."""
    parser = options.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=200, help="jobs of each form in a round, with three writes each")
    given = parser.parse_args()
    options.report(given, "what an object costs", asyncio.run(measure(given.rounds, given.jobs)))


if __name__ == "__main__":
    main()
