"""What jobs name is read in turns, bounded before it is parsed, and asked for again no more often than it may be."""

import base64
import json
from typing import Any

import pytest

from curation.api.job import MAX_CONFIG_BYTES, MAX_INPUT_BYTES, CurationJob
from curation.api.references import Frozen
from curation.cluster.answers import APIError, Document
from curation.cluster.intake import cut_object
from curation.cluster.resources import CONFIG_MAPS, JOBS
from curation.reconciler.jobs import orders
from curation.reconciler.runtime.key import Key
from curation.reconciler.sources.job_sources import READS_A_SECOND, READS_AT_ONCE, RETRY_SECONDS, JobSources
from tests.unit.lifecycle.builders import claimed, edited, new_job, running, stepped

KEY = Key(JOBS, "team", "job")


class Maps:
    """The API server's ConfigMaps: each answer is cut as a real one is."""

    def __init__(self) -> None:
        self.held: dict[str, Document] = {}
        self.reads = 0
        self.fails: APIError | None = None

    def put(self, name: str, **fields: Any) -> None:
        self.held[name] = {
            "metadata": {"name": name, "namespace": "team", "uid": "u", "resourceVersion": "1"},
            **fields,
        }

    async def read_config_map(self, namespace: str, name: str) -> Document | None:
        self.reads += 1
        if self.fails is not None:
            raise self.fails
        found = self.held.get(name)
        return (
            None
            if found is None
            else json.loads(cut_object(json.dumps(found, separators=(",", ":")).encode(), CONFIG_MAPS))
        )


class Rig:
    def __init__(self) -> None:
        self.now = 0.0
        self.maps = Maps()
        self.woken: list[tuple[Key, float]] = []
        api: Any = self.maps
        self.sources = JobSources(api, self.wake, self.wake, lambda: self.now, lambda: 0.5)

    def wake(self, key: Key, delay: float = 0.0) -> None:
        self.woken.append((key, delay))

    async def read(self, key: Key = KEY, **spec: Any) -> tuple[Frozen | None, str]:
        return await self.sources.read(key, job(key.name, **spec))


def job(name: str = "job", **spec: Any) -> CurationJob:
    given = spec or {"inputFrom": {"configMapKeyRef": {"name": "work", "key": "in.json"}}}
    metadata = {"name": name, "namespace": "team", "uid": f"uid-{name}"}
    return CurationJob.model_validate({"metadata": metadata, "spec": {"moduleRef": {"name": "m"}, **given}})


async def test_what_is_there_is_read_without_its_nulls() -> None:
    rig = Rig()
    rig.maps.put("work", data={"in.json": ' {"message": "hello", "none": null, "list": [{"a": null}]}\n', "other": "x"})
    rig.maps.put("settings", data={"api_url": "https://s"})
    given: dict[str, Any] = {
        "inputFrom": {"configMapKeyRef": {"name": "work", "key": "in.json"}},
        "configFrom": {"configMapRef": {"name": "settings"}},
    }
    found, problem = await rig.read(**given)
    assert problem == ""
    assert found == Frozen(input={"message": "hello", "list": [{}]}, config={"api_url": "https://s"})
    found, _ = await rig.read()
    assert found is not None
    assert found.config is None


SECRET = "do-not-show-this"
BAD_INPUTS: dict[str, tuple[Document, str]] = {
    "no such key": ({"data": {"other": SECRET}}, "has no key in.json (spec.inputFrom.configMapKeyRef.key)"),
    "no data": ({}, "has no key in.json"),
    "bytes": ({"binaryData": {"in.json": base64.b64encode(b"{}").decode()}}, "is in binaryData"),
    "not JSON": ({"data": {"in.json": f'{{"a":\n  {SECRET}}}'}}, "is not JSON at line 2, column 3"),
    "empty": ({"data": {"in.json": ""}}, "is not JSON"),
    "a list": ({"data": {"in.json": f'["{SECRET}"]'}}, "is JSON but no object"),
    "a text": ({"data": {"in.json": f'"{SECRET}"'}}, "is JSON but no object"),
    "not a number": ({"data": {"in.json": '{"a": NaN}'}}, "is not JSON"),
    "infinite": ({"data": {"in.json": '{"a": 1e999}'}}, "a number that JSON cannot carry exactly"),
    "too exact": ({"data": {"in.json": '{"a": 9007199254740993}'}}, "a number that JSON cannot carry exactly"),
    "endless digits": ({"data": {"in.json": '{"a": %s}' % ("1" * 5000)}}, "is not JSON"),
    "half a character": ({"data": {"in.json": '{"a": "\\ud800"}'}}, "half of a surrogate pair"),
    "half a character in a key": ({"data": {"in.json": '{"\\ud800": 1}'}}, "half of a surrogate pair"),
    "too deep": ({"data": {"in.json": '{"a":' * 65 + "1" + "}" * 65}}, "nested deeper than 64 levels"),
    "far too deep": ({"data": {"in.json": "[" * 60_000}}, "nested deeper than 64 levels"),
    "too large": ({"data": {"in.json": json.dumps({"a": "x" * MAX_INPUT_BYTES})}}, f"more than the {MAX_INPUT_BYTES}"),
    "far too large": ({"data": {"in.json": "x" * 900_000}}, f"more than the {MAX_INPUT_BYTES}"),
    "too many keys": ({"data": {f"k{n}": "" for n in range(5000)}}, "has more than 4096 keys"),
}


@pytest.mark.parametrize(("held", "says"), BAD_INPUTS.values(), ids=BAD_INPUTS)
async def test_an_input_that_is_no_use_is_said_by_name_and_nothing_of_it_is_shown(held: Document, says: str) -> None:
    rig = Rig()
    rig.maps.put("work", **held)
    found, problem = await rig.read()
    assert found is None
    assert says in problem
    assert "ConfigMap work" in problem
    assert SECRET not in problem


async def test_an_input_of_just_the_allowed_size_is_taken() -> None:
    rig = Rig()
    text = json.dumps({"a": "x" * (MAX_INPUT_BYTES - len('{"a":""}'))}, separators=(",", ":"))
    rig.maps.put("work", data={"in.json": text})
    found, problem = await rig.read()
    assert (found is not None, problem) == (True, "")


@pytest.mark.parametrize(
    ("held", "own", "says"),
    [
        ({"data": {"a": "x" * MAX_CONFIG_BYTES}}, {}, "4097 bytes, more than the 4096"),
        ({"data": {"a": "x" * 3000}}, {"b": "y" * 1500}, "with spec.config,"),
        ({"binaryData": {"a": "AA=="}}, {}, "has binaryData"),
    ],
    ids=["too large", "too large together", "bytes"],
)
async def test_a_configuration_that_is_no_use_is_said_by_name(held: Document, own: dict[str, str], says: str) -> None:
    rig = Rig()
    rig.maps.put("settings", **held)
    found, problem = await rig.read(configFrom={"configMapRef": {"name": "settings"}}, config=own)
    assert found is None
    assert says in problem


async def test_a_config_map_that_may_not_be_read_says_which_right_is_missing() -> None:
    rig = Rig()
    rig.maps.fails = APIError(403, "Forbidden", "no")
    found, problem = await rig.read()
    assert found is None
    assert "may not get ConfigMaps" in problem


async def test_a_server_in_trouble_says_nothing_about_the_job_and_keeps_no_turn() -> None:
    rig = Rig()
    rig.maps.fails = APIError(500, "InternalError", "etcd is away")
    for _ in range(2 * READS_AT_ONCE):
        with pytest.raises(APIError):
            await rig.read()
    rig.maps.fails = None
    rig.maps.put("work", data={"in.json": "{}"})
    assert await rig.read() == (Frozen(input={}), "")


async def test_what_is_missing_is_asked_for_later_and_later_whatever_wakes_the_job_meanwhile() -> None:
    rig = Rig()
    for number, pause in enumerate((*RETRY_SECONDS, RETRY_SECONDS[-1])):
        _, problem = await rig.read()
        assert "does not exist" in problem
        assert rig.maps.reads == number + 1
        assert rig.woken[-1][0] == KEY
        assert rig.woken[-1][1] == pytest.approx(pause)
        rig.now += pause / 2
        assert await rig.read() == (None, problem)
        assert rig.maps.reads == number + 1, "it is not read before its time"
        rig.now += pause / 2
    rig.maps.put("work", data={"in.json": "{}"})
    found, _ = await rig.read()
    assert found == Frozen(input={})


async def test_another_reference_and_another_object_of_the_name_are_read_at_once() -> None:
    rig = Rig()
    await rig.read()
    rig.maps.put("other", data={"in.json": "{}"})
    found, _ = await rig.read(inputFrom={"configMapKeyRef": {"name": "other", "key": "in.json"}})
    assert found == Frozen(input={})


async def test_many_jobs_of_a_namespace_that_wait_share_a_rate() -> None:
    rig = Rig()
    for number in range(1000):
        await rig.read(Key(JOBS, "team", f"job-{number}"))
    assert rig.woken[-1][1] == pytest.approx(1000 / READS_A_SECOND)
    await rig.read(Key(JOBS, "elsewhere", "job"))
    assert rig.woken[-1][1] == pytest.approx(RETRY_SECONDS[0])
    for number in range(1000):
        rig.sources.forget(Key(JOBS, "team", f"job-{number}"))
    await rig.read(Key(JOBS, "team", "late"))
    assert rig.woken[-1][1] == pytest.approx(RETRY_SECONDS[0])


def test_an_observation_is_given_what_was_frozen_and_a_cancel_the_configuration_of_its_run() -> None:
    frozen = Frozen(input={"message": "first"}, config={"api_url": "https://first"})
    given: dict[str, Any] = {"inputFrom": {"configMapKeyRef": {"name": "work", "key": "in.json"}}}
    found = running(claimed(new_job(**given, configFrom={"configMapRef": {"name": "settings"}}), frozen=frozen))
    assert found.status.run is not None
    order = orders.observe(KEY, found, found.status.run)
    assert (order.input, order.config) == (frozen.input, frozen.config)
    superseded = stepped(edited(found, rerun="2"), frozen_problem="gone")
    (entry,) = superseded.status.abandoned_runs
    assert orders.cancel(KEY, superseded, entry, None).config == frozen.config


def test_an_input_that_is_inline_is_not_replaced_by_what_an_earlier_template_has_frozen() -> None:
    found = claimed(new_job(input={"message": "inline"}, configFrom={"configMapRef": {"name": "settings"}}),
                    frozen=Frozen(config={"a": "b"}))  # fmt: skip
    assert found.status.run is not None
    assert orders.submit(KEY, found, found.status.run).input == {"message": "inline"}
