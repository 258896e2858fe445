"""What inputFrom and configFrom of jobs name, read when a run is to be claimed: once for each template.

There is no watch on ConfigMaps, which would take the right to list them all. So a job whose ConfigMap is missing or no
use asks again, later and later, and the jobs of a namespace share a rate; in between nothing is read, whatever wakes
the job. The bytes of a value are counted before anything of it is parsed.
"""

import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NoReturn

import rfc8785

from curation.api.digest import MAX_DEPTH, depth, json_size, without_nulls
from curation.api.excess import EXCESS_FIELD, INPUT_REMEDY, too_deep, too_large
from curation.api.job import MAX_CONFIG_BYTES, MAX_INPUT_BYTES, CurationJob
from curation.api.references import ConfigFrom, ConfigMapKeyRef, Frozen, InputFrom
from curation.cluster.answers import APIError, Document
from curation.cluster.api import ClusterAPI
from curation.cluster.bounds import MAX_INPUT_WITH_NULLS, MAX_KEYS, is_deep
from curation.reconciler.runtime.key import Key, namespace_of
from curation.turns import Turns

RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 15.0)
"""Between two reads for a job whose ConfigMap is missing, or no use."""
READS_A_SECOND: Final = 10.0
"""Of all jobs that wait so, in equal shares between namespaces: with more of them each reads less often."""
# Of one read a ConfigMap of a megabyte is in memory.
READS_AT_ONCE: Final = 5
READS_SHARE: Final = 4


class _Useless(Exception):
    """A ConfigMap that is missing, or no use: which, why, and what helps."""


@dataclass(frozen=True, slots=True)
class _Wanting:
    """A job that waits for its ConfigMaps."""

    uid: str
    references: tuple[InputFrom | None, ConfigFrom | None, int]
    """What it names; the bytes of spec.config count among it."""
    problem: str
    failures: int
    due: float
    """When it may be read again, by the monotonic clock."""


class JobSources:
    """Reads what jobs name, in turns."""

    def __init__(
        self,
        api: ClusterAPI,
        wake: Callable[[Key], None],
        wake_after: Callable[[Key, float], None],
        monotonic: Callable[[], float],
        sample: Callable[[], float] = random.random,
    ) -> None:
        """`wake` has a job worked on, `wake_after` in so many seconds.

        `monotonic` counts seconds; `sample` is a number in [0, 1), for jitter.
        """
        self._api = api
        self._wake_after = wake_after
        self._monotonic = monotonic
        self._sample = sample
        self._turns: Turns[Key] = Turns(READS_AT_ONCE, wake, namespace_of, share=READS_SHARE)
        self._wanting: dict[Key, _Wanting] = {}
        self._namespaces: Counter[str] = Counter()

    async def read(self, key: Key, job: CurationJob) -> tuple[Frozen | None, str]:
        """What the job names now, or why that is no use; neither if it is not its turn. Then it is woken later.

        Raises `APIError` and `Unreachable` where the server is in trouble, which says nothing about the job.
        """
        names = (job.spec.input_from, job.spec.config_from, _config_size(job.spec.config))
        known = self._wanting.get(key)
        if known is not None and (known.uid, known.references) != (job.metadata.uid, names):
            self._forget(key)
            known = None
        if known is not None and (left := known.due - self._monotonic()) > 0:
            self._wake_after(key, left)
            return None, known.problem
        if not self._turns.take(key):
            return None, known.problem if known is not None else ""
        try:
            found = await self._read(key.namespace, job)
        except _Useless as error:
            self._try_later(key, _Wanting(job.metadata.uid, names, str(error), known.failures + 1 if known else 0, 0))
            return None, str(error)
        finally:
            self._turns.release(key)
        self._forget(key)
        return found, ""

    def decline(self, key: Key) -> None:
        """The key was worked on; a turn that is kept for it and that it did not take is for the next one."""
        self._turns.decline(key)

    def forget(self, key: Key) -> None:
        """The job is gone: it waits for nothing."""
        self._turns.leave(key)
        self._forget(key)

    def _forget(self, key: Key) -> None:
        if self._wanting.pop(key, None) is not None:
            self._namespaces -= Counter([key.namespace])  # drops one at zero

    def _try_later(self, key: Key, wanting: _Wanting) -> None:
        if key not in self._wanting:
            self._namespaces[key.namespace] += 1
        share = READS_A_SECOND / len(self._namespaces)
        pause = RETRY_SECONDS[min(wanting.failures, len(RETRY_SECONDS) - 1)]
        delay = max(pause, self._namespaces[key.namespace] / share) * (0.9 + self._sample() / 5)
        due = self._monotonic() + delay
        self._wanting[key] = _Wanting(wanting.uid, wanting.references, wanting.problem, wanting.failures, due)
        self._wake_after(key, delay)

    async def _read(self, namespace: str, job: CurationJob) -> Frozen:
        spec = job.spec
        document = config = None
        if spec.input_from is not None:
            reference = spec.input_from.config_map_key_ref
            field = "spec.inputFrom.configMapKeyRef"
            document = _input(await self._config_map(namespace, reference.name, field), reference)
        if spec.config_from is not None:
            name, field = spec.config_from.config_map_ref.name, "spec.configFrom.configMapRef"
            config = _config(await self._config_map(namespace, name, field), name, spec.config)
        return Frozen(input=document, config=config)

    async def _config_map(self, namespace: str, name: str, field: str) -> Document:
        try:
            found = await self._api.read_config_map(namespace, name)
        except APIError as error:
            if error.code != HTTPStatus.FORBIDDEN:
                raise
            raise _Useless(
                f"ConfigMap {name} ({field}.name) cannot be read: the operator may not get ConfigMaps in this"
                " namespace; give it the rule that manifests/base/cluster-role.yaml has"
            ) from None
        if found is None:
            raise _Useless(f"ConfigMap {name} ({field}.name) does not exist in namespace {namespace}; apply it")
        if found.get(EXCESS_FIELD):
            raise _Useless(
                f"ConfigMap {name} ({field}.name) has more than {MAX_KEYS} keys; give the job one of its own"
            )
        return found


def _input(found: Document, reference: ConfigMapKeyRef) -> dict[str, Any]:
    # No part of what is there is shown: whoever reads the job need not have the right to read the ConfigMap.
    where = f"ConfigMap {reference.name}, key {reference.key} (spec.inputFrom.configMapKeyRef)"
    text = (found.get("data") or {}).get(reference.key)
    if text is None:
        if reference.key in (found.get("binaryData") or {}):
            raise _Useless(f"{where} is in binaryData, which is no text; put JSON text into data")
        raise _Useless(f"ConfigMap {reference.name} has no key {reference.key} (spec.inputFrom.configMapKeyRef.key)")
    size = len(text.encode())
    if size > MAX_INPUT_WITH_NULLS:
        raise _Useless(too_large(where, size, MAX_INPUT_BYTES, INPUT_REMEDY))
    try:
        if is_deep(text.encode()):
            raise _Useless(too_deep(where, MAX_DEPTH))
        document = json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        at = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise _Useless(f"{where} is not JSON{at}; put a JSON object there") from None
    if not isinstance(document, dict):
        raise _Useless(f"{where} is JSON but no object; put a JSON object there")
    if depth(document) > MAX_DEPTH:
        raise _Useless(too_deep(where, MAX_DEPTH))
    document = without_nulls(document)
    assert isinstance(document, dict)
    try:
        if (size := json_size(document)) > MAX_INPUT_BYTES:
            raise _Useless(too_large(where, size, MAX_INPUT_BYTES, INPUT_REMEDY))
        rfc8785.dumps(document)
    except rfc8785.CanonicalizationError as error:
        problem = f"{where} holds a number that JSON cannot carry exactly ({error}); write it as a string"
        raise _Useless(problem) from None
    except UnicodeEncodeError:
        raise _Useless(f"{where} has half of a surrogate pair (\\ud800 to \\udfff), which is no character") from None
    return document


def _config(found: Document, name: str, own: dict[str, str]) -> dict[str, str]:
    where = f"ConfigMap {name} (spec.configFrom.configMapRef)"
    if found.get("binaryData"):
        raise _Useless(f"{where} has binaryData, which are no strings; give the job a ConfigMap that has data only")
    data: dict[str, str] = found.get("data") or {}
    size = _config_size({**data, **own})
    if size > MAX_CONFIG_BYTES:
        raise _Useless(too_large(f"{where}, with spec.config,", size, MAX_CONFIG_BYTES, "put larger data in the input"))
    return data


def _config_size(config: dict[str, str]) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in config.items())


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")
