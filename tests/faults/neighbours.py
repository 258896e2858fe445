"""What the people of one namespace can do to those of another: floods, each of objects that they may make themselves.

A flood is a script for `tests.faults.author`: objects that are made once, and requests that are sent without end. What
its modules call is the hostile server of `tests.peers.hostile`, a process too.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.faults.author import NUMBER, Step
from tests.guests import hostile
from tests.guests.wat import Script
from tests.harness import manifests

Document = dict[str, Any]
Jobs = Sequence[Document]

LARGE: Final = 1_400_000
_GROUP: Final = "/apis/curation.dev/v1alpha1/namespaces/{namespace}"
_CORE: Final = "/api/v1/namespaces/{namespace}"
_PLURALS: Final = {
    "CurationJob": f"{_GROUP}/curationjobs",
    "CurationModule": f"{_GROUP}/curationmodules",
    "CurationPolicy": f"{_GROUP}/curationpolicies",
    "ConfigMap": f"{_CORE}/configmaps",
}


@dataclass(frozen=True)
class Flood:
    """One of them."""

    objects: Sequence[Document]
    """Made at first, in this order: modules and policies before jobs."""
    bites: Callable[[Jobs], bool]
    """Whether the jobs of the namespace show that the operator is busy with it: only then it is a flood."""
    loop: Sequence[tuple[str, str, str, object]] = ()
    """Sent without end: method, kind, name and body."""
    at_once: int = 4

    def script(self, namespace: str) -> dict[str, Any]:
        """See `tests.faults.author`."""

        def step(method: str, kind: str, name: str, body: object) -> Step:
            path = _PLURALS[kind].format(namespace=namespace) + (f"/{name}" if name else "")
            return method, path, _text(body)

        return {
            "once": [step("POST", each["kind"], "", each) for each in self.objects],
            "loop": [step(*each) for each in self.loop],
            "at_once": self.at_once,
        }


def _text(body: object) -> str:
    return "" if body is None else json.dumps(body)


def _job(name: str, module: str, **spec: Any) -> Document:
    found = manifests.job(name, "http://127.0.0.1:9", moduleRef={"name": module}, **spec)
    found["spec"].pop("config")
    return found


def _jobs(count: int, module: str = "hostile", **spec: Any) -> list[Document]:
    return [_job(f"noisy-{number}", module, **spec) for number in range(count)]


def _module(component: bytes, name: str = "hostile", **limits: Any) -> list[Document]:
    return manifests.wasm_module(name, component, **{"wall_seconds": 600, **limits})


def _in_phase(phase: str, count: int) -> Callable[[Jobs], bool]:
    return lambda jobs: sum(job.get("status", {}).get("phase") == phase for job in jobs) >= count


def _for_reason(reason: str, count: int) -> Callable[[Jobs], bool]:
    return lambda jobs: sum(job.get("status", {}).get("reason") == reason for job in jobs) >= count


def _attempts(count: int) -> Callable[[Jobs], bool]:
    """So many runs were begun, of all jobs together."""

    def begun(jobs: Jobs) -> bool:
        attempts: list[int] = [job.get("status", {}).get("run", {}).get("attempt", 0) for job in jobs]
        return sum(attempts) >= count

    return begun


def _abandoned(count: int) -> Callable[[Jobs], bool]:
    """So many runs are to be cancelled, of all jobs together."""
    return lambda jobs: sum(len(job.get("status", {}).get("abandonedRuns", ())) for job in jobs) >= count


def _rerun(count: int) -> list[tuple[str, str, str, object]]:
    """Ask for a new run of each of so many jobs, one after the other."""
    return [("PATCH", "CurationJob", f"noisy-{number}", {"spec": {"rerun": NUMBER}}) for number in range(count)]


def _annotate(kind: str, name: str) -> tuple[str, str, str, object]:
    return "PATCH", kind, name, {"metadata": {"annotations": {"example.com/number": NUMBER}}}


DONE: Final = {"action": "Completed"}
SPAWNED: Final = {"action": "SessionSpawned", "session": {"id": "s"}}
_ENDLESS: Final = ("informational", "headers", "chunk-lines", "trailers", "chunks/1/999999", "gzip-bomb", "folded")
_COMPLETES: Final = Script().ok(DONE)


def large_inputs(_: str) -> Flood:
    """Inputs of 1.4 MB that are annotated."""
    words = ["x" * 20] * (LARGE // 23)
    objects = _jobs(18, "none", input={"words": words})
    return Flood(
        objects, _for_reason("InvalidSpec", 18), [_annotate("CurationJob", f"noisy-{n}") for n in range(18)], 3
    )


def endless_answers(url: str) -> Flood:
    """A server that answers without end, in every way."""
    script = Script()
    for path in _ENDLESS:
        script.call({"method": "GET", "url": f"{url}/{path}"})
    objects = [*_module(script.ok(DONE), cpuSeconds=10), manifests.policy(), *_jobs(60)]
    return Flood(objects, _attempts(60), _rerun(60), 1)


def heavy_policies(url: str) -> Flood:
    """As many policies as a namespace may have, as heavy as they may be, edited in a loop; and calls that need them."""

    def cedar(number: object) -> str:
        rules = (
            f'forbid(principal, action, resource) when {{ context.path like "*{number}*{n}*a*b*c*" }};'
            for n in range(500)
        )
        return "".join(rules)

    policies = [manifests.policy(cedar(number), f"heavy-{number}") for number in range(19)]
    path = "/" + "abcabc/" * 200
    script = Script().call({"method": "GET", "url": f"{url}{path}"}, times=20)
    objects: list[Document] = [*policies, manifests.policy(), *_module(script.ok(DONE)), *_jobs(40)]
    edits: list[tuple[str, str, str, object]] = [
        ("PATCH", "CurationPolicy", f"heavy-{number}", {"spec": {"cedar": cedar(NUMBER)}}) for number in range(19)
    ]
    return Flood(objects, _attempts(20), [*edits, *_rerun(19)], 1)


def hanging_cancels(url: str) -> Flood:
    """Hundreds of sessions whose Cancel never has an answer."""
    script = Script()
    script.on("Submit", script.returning(SPAWNED)).on("Observe", script.returning({"action": "StillRunning"}))
    component = script.call({"method": "DELETE", "url": f"{url}/hang"}).ok({"action": "Cancelled"})
    objects = [*_module(component), manifests.policy(), *_jobs(300)]
    # A new run of each: what the one before has left is to be cancelled.
    return Flood(objects, _abandoned(200), _rerun(300), 2)


def hanging_runs(url: str) -> Flood:
    """Three thousand jobs whose runs never have an answer."""
    component = Script().call({"method": "GET", "url": f"{url}/hang"}).ok(DONE)
    return Flood([*_module(component), manifests.policy(), *_jobs(3000)], _in_phase("Submitted", 200))


def runs_that_want_memory(url: str) -> Flood:
    """Runs that never have an answer and may each take a GiB."""
    component = Script().call({"method": "GET", "url": f"{url}/hang"}).ok(DONE)
    return Flood([*_module(component, memory="1Gi"), manifests.policy(), *_jobs(200)], _in_phase("Submitted", 10))


def few_hanging_runs(url: str) -> Flood:
    """The same where 16 runs are allowed at once: one namespace alone may have 14."""
    component = Script().call({"method": "GET", "url": f"{url}/hang"}).ok(DONE)
    return Flood([*_module(component), manifests.policy(), *_jobs(30)], _in_phase("Submitted", 14))


def spinning_guests(_: str) -> Flood:
    """Guests that compute for ever."""
    objects = [*_module(hostile.spins(), cpuSeconds=300), *_jobs(200)]
    return Flood(objects, _in_phase("Submitted", 150))


def few_spinning_guests(_: str) -> Flood:
    """The same with fewer: many more than there are processors."""
    objects = [*_module(hostile.spins(), cpuSeconds=300), *_jobs(12)]
    return Flood(objects, _in_phase("Submitted", 12))


def logging_guests(_: str) -> Flood:
    """Guests that log for ever."""
    script = Script().log("x" * 400, level="error", times=2_000_000_000)
    return Flood([*_module(script.ok(DONE), cpuSeconds=300), *_jobs(64)], _in_phase("Submitted", 60))


def modules_hard_to_compile(_: str) -> Flood:
    """Modules that take the compiler as long as it may."""
    modules = [
        each for n in range(12) for each in _module(hostile.hard_to_compile(380 + n), f"hard-{n}", wall_seconds=10)
    ]
    jobs = [_job(f"noisy-{n}", f"hard-{n}") for n in range(12)]
    edits = [_annotate("CurationModule", f"hard-{n}") for n in range(12)]
    return Flood([*modules, *jobs], _for_reason("WaitingForModule", 12), edits, 1)


def modules_of_nested_instances(_: str) -> Flood:
    """Small modules that take much memory once they are instantiated."""
    modules = [
        each
        for n in range(12)
        for each in _module(
            hostile.nests_instances(4, first=f'(core module (data "{n}"))'), f"nests-{n}", memory="1Mi", wall_seconds=10
        )
    ]
    jobs = [_job(f"noisy-{n}-{m}", f"nests-{n}") for n in range(12) for m in range(5)]
    return Flood([*modules, *jobs], lambda found: sum("status" in job for job in found) >= 60, (), 4)


def giant_results(_: str) -> Flood:
    """Guests that return, log and ask for as much as they can."""
    modules = [
        *_module(hostile.returns_giant(50 << 20), "returns", memory="64Mi"),
        *_module(hostile.logs_giant(50 << 20), "logs", memory="64Mi"),
        *_module(hostile.requests_giant(50 << 20), "asks", memory="64Mi"),
    ]
    jobs = [_job(f"noisy-{n}", ("returns", "logs", "asks")[n % 3]) for n in range(60)]
    return Flood([*modules, *jobs], _attempts(30), _rerun(60), 1)


def memory_bombs(_: str) -> Flood:
    """Guests that take all the memory that they may."""
    objects = [*_module(hostile.allocates_for_ever(), memory="64Mi"), *_jobs(60)]
    return Flood(objects, _attempts(30), _rerun(60), 1)


def denied_calls(url: str) -> Flood:
    """Jobs that ask for more approvals than may wait."""
    modules, jobs = list[Document](), list[Document]()
    for module in range(50):
        component = Script().call({"method": "GET", "url": f"{url}/asked/{module}"}).answer()
        modules += _module(component, f"asks-{module}")
        jobs += [_job(f"noisy-{module * 10 + each}", f"asks-{module}") for each in range(10)]
    return Flood([*modules, *jobs], _in_phase("AwaitingApproval", 100), _rerun(500), 1)


def jobs_made_and_deleted(_: str) -> Flood:
    """Jobs that are made and deleted as fast as the API server lets them."""
    made = _job(f"new-{NUMBER}", "hostile")
    made["spec"]["ttlSecondsAfterFinished"] = 0  # deleted by the operator
    loop = [("POST", "CurationJob", "", made)]
    return Flood([*_module(_COMPLETES), *_jobs(20)], _in_phase("Completed", 10), loop, 2)


def reruns(_: str) -> Flood:
    """Jobs that are superseded again and again."""
    return Flood([*_module(_COMPLETES), *_jobs(50)], _in_phase("Completed", 40), _rerun(50), 2)


def missing_config_maps(_: str) -> Flood:
    """A thousand jobs that wait for what is not there."""
    source = {"configMapKeyRef": {"name": "none", "key": "input"}}
    jobs = _jobs(1000, inputFrom=source)
    for job in jobs:
        del job["spec"]["input"]
    return Flood([*_module(_COMPLETES), *jobs], _for_reason("WaitingForConfigMap", 300))


def hanging_observations(url: str) -> Flood:
    """Sessions that are to be observed each second, by calls that never have an answer."""
    script = Script()
    script.on("Submit", script.returning(SPAWNED)).on("Cancel", script.returning({"action": "Cancelled"}))
    component = script.call({"method": "GET", "url": f"{url}/hang"}).ok({"action": "StillRunning"})
    objects = [*_module(component), manifests.policy(), *_jobs(300, observeIntervalSeconds=1)]
    return Flood(objects, _in_phase("Running", 250))


def failures_without_end(_: str) -> Flood:
    """Runs that fail at once and are retried: each with its Events."""
    component = Script().error({"message": "x" * 500, "class": "Timeout"})
    retry = {"limit": 20, "initialDelaySeconds": 1, "maxDelaySeconds": 1}
    return Flood([*_module(component), *_jobs(200, retry=retry)], _attempts(300))


def modules_edited(_: str) -> Flood:
    """Modules whose bytes change all the time, with jobs that wait for each of them."""
    sources = [_module(Script().log(f"build {n}").ok(DONE), f"changes-{n}", wall_seconds=10) for n in range(20)]
    edits: list[tuple[str, str, str, object]] = []
    for other in range(20):
        for n, (config_map, module) in enumerate(
            _module(Script().log(f"build {n} {other}").ok(DONE), f"changes-{n}") for n in range(20)
        ):
            edits += [
                ("PATCH", "ConfigMap", f"changes-{n}-wasm", {"binaryData": config_map["binaryData"]}),
                ("PATCH", "CurationModule", f"changes-{n}", {"spec": {"digest": module["spec"]["digest"]}}),
                ("PATCH", "CurationJob", f"noisy-{n}", {"spec": {"rerun": NUMBER}}),
            ]
    jobs = [_job(f"noisy-{n}", f"changes-{n}") for n in range(20)]
    return Flood([*(each for source in sources for each in source), *jobs], _attempts(20), edits, 1)


def deep_inputs(_: str) -> Flood:
    """Inputs of brackets in brackets, and of thousands of keys, edited in a loop."""
    deep: Any = 1
    for _level in range(60):
        deep = {"a": deep}
    wide = {f"key-{n}": n for n in range(5000)}
    jobs = _jobs(40, "none", input={"deep": deep})
    edits: list[tuple[str, str, str, object]] = [
        ("PATCH", "CurationJob", f"noisy-{n}", {"spec": {"input": {"wide": wide, "number": NUMBER}}}) for n in range(40)
    ]
    return Flood(jobs, lambda found: sum("status" in job for job in found) >= 40, edits, 1)


OF_OTHERS: Final[dict[str, Callable[[str], Flood]]] = {
    flood.__name__: flood
    for flood in (
        large_inputs,
        endless_answers,
        heavy_policies,
        hanging_cancels,
        hanging_runs,
        runs_that_want_memory,
        spinning_guests,
        logging_guests,
        modules_hard_to_compile,
        modules_of_nested_instances,
        giant_results,
        memory_bombs,
        denied_calls,
        jobs_made_and_deleted,
        reruns,
        missing_config_maps,
        hanging_observations,
        failures_without_end,
        modules_edited,
        deep_inputs,
    )
}
SHORT: Final[dict[str, Callable[[str], Flood]]] = {
    flood.__name__: flood for flood in (few_hanging_runs, few_spinning_guests)
}
