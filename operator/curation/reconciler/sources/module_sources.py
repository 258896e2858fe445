"""The sources of modules: read in the namespace of each, and checked again while the module may be run.

A module is what its source holds here and now. That some namespace has once loaded the same digest says nothing about
this one, and bytes that were changed in place must not go on being run. There is no watch on ConfigMaps, which would
take the right to list them all: their metadata is read every few seconds, and the bytes only if the version is another.
"""

import base64
import binascii
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from curation.api.excess import EXCESS_FIELD
from curation.api.module import ConfigMapSource, CurationModule, ModuleSource, ModuleSpec
from curation.cluster.api import ClusterAPI
from curation.cluster.bounds import MAX_KEYS
from curation.reconciler.runtime.key import Key
from curation.wasm.module_bytes import builtin_bytes, digest_of
from curation.wasm.module_errors import ModuleLoadError, ModuleReason
from curation.wasm.module_size import MAX_MODULE_BYTES

SOURCE_CHECK_SECONDS: Final = 5.0
"""Between two checks of a source."""
SOURCE_CHECKS_A_SECOND: Final = 10.0
"""Of all sources, in equal shares between namespaces: with more of them each is checked less often."""
SOURCE_FRESH_SECONDS: Final = 10.0
"""How old the last check may be when a run is claimed; if it is older, the claim checks first."""

_BASE64_CHARACTERS = (MAX_MODULE_BYTES + 2) // 3 * 4


class Version(NamedTuple):
    """Which bytes a ConfigMap holds: no two versions of one cluster have the same."""

    uid: str
    resource_version: str


@dataclass(slots=True)
class _Check:
    """What the last check of a module's source has found."""

    origin: tuple[ModuleSource, str | None]
    version: Version | None
    problem: tuple[ModuleReason, str] | None
    at: float


class Sources:
    """What is known of the sources of modules, each by its own reads."""

    def __init__(
        self, api: ClusterAPI, monotonic: Callable[[], float], sample: Callable[[], float] = random.random
    ) -> None:
        """`monotonic` counts seconds; `sample` is a number in [0, 1), for jitter."""
        self._api = api
        self._monotonic = monotonic
        self._sample = sample
        self._checks: dict[Key, _Check] = {}
        self._namespaces: Counter[str] = Counter()

    async def check(self, key: Key, spec: ModuleSpec) -> None:
        """See that a module's source has the bytes of its digest, with as small a read as possible.

        Raises ModuleLoadError if it has not, and `APIError` or `Unreachable`.
        """
        source = spec.source.config_map
        if source is None:
            self.forget(key)
            return
        known = self._checks.get(key)
        if known is not None and known.origin != origin(spec):
            known = None
        if known is not None and known.version == _version(
            await self._api.config_map_metadata(key.namespace, source.name)
        ):
            known.at = self._monotonic()
            if known.problem is not None:
                raise ModuleLoadError(*known.problem)
            return
        found = await self._api.read_config_map(key.namespace, source.name)
        problem = None
        try:
            if digest_of(_bytes(found, source)) != spec.digest:
                raise _mismatch(source)
        except ModuleLoadError as error:
            problem = error.reason, error.message
        if key not in self._checks:
            self._namespaces[key.namespace] += 1
        version = _version(found["metadata"] if found is not None else None)
        self._checks[key] = _Check(origin(spec), version, problem, self._monotonic())
        if problem is not None:
            raise ModuleLoadError(*problem)

    async def read(self, namespace: str, spec: ModuleSpec) -> bytes:
        """The bytes of a module. Raises ModuleLoadError, `APIError` or `Unreachable`."""
        if spec.source.builtin is not None:
            return builtin_bytes(spec.source.builtin)
        source = spec.source.config_map
        assert source is not None, "what is in a registry is pulled, see `module_pulls`"
        found = _bytes(await self._api.read_config_map(namespace, source.name), source)
        if digest_of(found) != spec.digest:
            raise _mismatch(source)
        return found

    def fresh(self, key: Key, module: CurationModule) -> bool:
        """Whether the last check of the module's source is recent enough for a run."""
        if module.spec.source.config_map is None:
            return True
        known = self._checks.get(key)
        return (
            known is not None
            and known.origin == origin(module.spec)
            and self._monotonic() < known.at + SOURCE_FRESH_SECONDS
        )

    def next_check(self, key: Key) -> float | None:
        """In how many seconds the source is to be checked again; None if there is nothing to check."""
        if key not in self._checks:
            return None
        share = SOURCE_CHECKS_A_SECOND / len(self._namespaces)
        return max(SOURCE_CHECK_SECONDS, self._namespaces[key.namespace] / share) * (0.9 + self._sample() / 5)

    def forget(self, key: Key) -> None:
        """The module is gone, or has another kind of source."""
        if self._checks.pop(key, None) is not None:
            self._namespaces -= Counter([key.namespace])  # drops one at zero


def origin(spec: ModuleSpec) -> tuple[ModuleSource, str | None]:
    """What a build is loaded from; all else may be edited and it stays the build."""
    return spec.source, spec.digest


def _version(metadata: dict[str, Any] | None) -> Version | None:
    return None if metadata is None else Version(metadata["uid"], metadata["resourceVersion"])


def _mismatch(source: ConfigMapSource) -> ModuleLoadError:
    # Neither their digest nor another key is shown: the module's author may have no right to read the ConfigMap.
    return ModuleLoadError(
        ModuleReason.DIGEST_MISMATCH,
        f"ConfigMap {source.name}, key {source.key} holds other bytes than spec.digest says: fix whichever is wrong",
    )


def _bytes(found: dict[str, Any] | None, source: ConfigMapSource) -> bytes:
    if found is None:
        message = f"ConfigMap {source.name} (spec.source.configMap.name) does not exist"
        raise ModuleLoadError(ModuleReason.NOT_FOUND, message)
    if found.get(EXCESS_FIELD):
        message = f"ConfigMap {source.name} has more than {MAX_KEYS} keys: give the module one of its own"
        raise ModuleLoadError(ModuleReason.TOO_LARGE, message)
    where = f"ConfigMap {source.name}, key {source.key}"
    binary, text = (found.get("binaryData") or {}).get(source.key), (found.get("data") or {}).get(source.key)
    if len(binary or "") > _BASE64_CHARACTERS or len(text or "") > MAX_MODULE_BYTES:
        message = f"{where} has more than {MAX_MODULE_BYTES} bytes: strip the module, optimize for size"
        raise ModuleLoadError(ModuleReason.TOO_LARGE, message)
    if binary is not None:
        try:
            return base64.b64decode(binary, validate=True)
        except binascii.Error:
            raise ModuleLoadError(ModuleReason.INVALID, f"{where} is not base64") from None
    if text is not None:
        return str(text).encode()
    message = f"ConfigMap {source.name} has no key {source.key} (spec.source.configMap.key)"
    raise ModuleLoadError(ModuleReason.NOT_FOUND, message)
