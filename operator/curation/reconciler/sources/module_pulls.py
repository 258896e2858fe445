"""Modules from registries: pulled in the background, in turns, and what is known of each.

A pull shows that a namespace has the artifact: by the credentials that its module names, signed as it has to be. That
is known by the module and its source, and never by the digest alone, which others may have written too. An artifact is
named by its digest, so what was shown once stays so: it is not pulled again while this process runs, unless its machine
code was dropped to make room.
"""

import asyncio
import base64
import binascii
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, NamedTuple

from curation.api.excess import EXCESS_FIELD
from curation.api.module import ModuleSource, ModuleSpec, OCISource
from curation.cluster.answers import APIError, Unreachable
from curation.cluster.api import ClusterAPI
from curation.oci.frames import PublicKey
from curation.oci.pull_secret import SECRET_KEY, SECRET_TYPE
from curation.oci.puller import Artifact, PulledModule, Puller
from curation.reconciler.runtime.key import Key
from curation.reconciler.runtime.metrics import Metrics
from curation.reconciler.sources.module_loads import BeingCompiled
from curation.reconciler.sources.module_sources import origin
from curation.reconciler.sources.secret_reads import may_not_be_read
from curation.turns import AwaitedTurns
from curation.wasm.module_errors import ModuleLoadError, ModuleReason
from curation.wasm.store import LoadedModule, ModuleStore

log = logging.getLogger(__name__)

PULLS_AT_ONCE: Final = 4
"""Each holds 32 MiB of disk until its module is compiled, and a process meanwhile. One namespace may have half."""

PULLED: Final = "Pulled"
SIGNATURE_VERIFIED: Final = "SignatureVerified"


class ShownCondition(NamedTuple):
    """A condition of a module's status."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class _Known:
    """What a pull of a module has come to."""

    origin: tuple[ModuleSource, str | None]
    signed_by: tuple[str, ...] | None
    """By which keys, if it was pulled."""
    error: Exception | None = None
    """Why it was not, or why it could not be compiled."""


class Pulls:
    """What is pulled, and what was."""

    def __init__(
        self,
        api: ClusterAPI,
        store: ModuleStore,
        puller: Puller,
        required: Sequence[PublicKey],
        metrics: Metrics,
        built: Callable[[Key, ModuleSpec, str], None],
        wake: Callable[[Key], None],
    ) -> None:
        """One of the `required` keys must have signed each module.

        `built` is called for a new build, `wake` asks for work on a module.
        """
        self._api = api
        self._store = store
        self._puller = puller
        self.required = tuple(required)
        """Empty: nothing has to be signed, but for what its module says itself."""
        self._metrics = metrics
        self._built = built
        self._wake = wake
        self._turns = AwaitedTurns(PULLS_AT_ONCE)
        self._known: dict[Key, _Known] = {}
        self._pulling: dict[Key, tuple[object, asyncio.Task[None]]] = {}

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Those under way, for whoever waits for them, or ends them."""
        return [task for _, task in self._pulling.values()]

    def of(self, keys: Sequence[Key]) -> list[asyncio.Task[None]]:
        """Those under way for these modules."""
        return [self._pulling[key][1] for key in keys if key in self._pulling]

    async def module(self, key: Key, spec: ModuleSpec) -> LoadedModule:
        """The module, once its source was shown to have it, and it is compiled.

        Raises BeingCompiled until then; what a pull has raised, after which the next call begins another one if that
        may help; and ModuleLoadError for one that is known to be no module.
        """
        known = self._known.get(key)
        if known is not None and known.origin == origin(spec):
            if known.error is not None:
                if not isinstance(known.error, ModuleLoadError) or known.error.may_pass:
                    # Kept for what its conditions say, until the next pull says something else.
                    self._start_later(key, spec)
                raise known.error.with_traceback(None)
            module = await self._store.find(spec.digest or "")
            if module is not None:
                return module
        self.start(key, spec)
        raise BeingCompiled

    def _start_later(self, key: Key, spec: ModuleSpec) -> None:
        """The next call finds nothing, and pulls."""
        known = self._known[key]
        self._known[key] = _Known((known.origin[0], None), known.signed_by, known.error)

    def conditions(self, key: Key, spec: ModuleSpec) -> tuple[ShownCondition, ...]:
        """What the module's status says of its pull."""
        oci = spec.source.oci
        known = self._known.get(key)
        if oci is None or known is None or known.origin[0] != spec.source:
            return ()
        demanded = bool(self.required or oci.verify)
        if known.signed_by is not None:
            found = [ShownCondition(PULLED, "True", PULLED, f"It was pulled from {oci.ref}.")]
            if demanded:
                names = " and ".join(known.signed_by)
                found.append(
                    ShownCondition(SIGNATURE_VERIFIED, "True", "Verified", f"It is signed by the key {names}.")
                )
            return tuple(found)
        reason, message = ModuleReason.PULL_FAILED, str(known.error)
        if isinstance(known.error, ModuleLoadError):
            reason, message = known.error.reason, known.error.message
        found = [ShownCondition(PULLED, "False", reason.value, message)]
        if demanded:
            unsigned = reason is ModuleReason.NOT_SIGNED
            found.append(
                ShownCondition(SIGNATURE_VERIFIED, "False", reason.value, message)
                if unsigned
                else ShownCondition(SIGNATURE_VERIFIED, "Unknown", "NotPulled", "It could not be pulled.")
            )
        return tuple(found)

    def drop(self, key: Key) -> None:
        """It has another kind of source, or is gone: nobody waits for its pull any more."""
        self._known.pop(key, None)
        pulling = self._pulling.pop(key, None)
        if pulling is not None:
            pulling[1].cancel()

    def close(self) -> None:
        """Let nobody wait for a turn any more."""
        self._turns.close()

    async def pull(self, namespace: str, spec: ModuleSpec) -> tuple[PulledModule, Callable[[], None]]:
        """Pull a module in a turn of its namespace, and what gives back the turn and the module's bytes.

        Raises ModuleLoadError, `APIError`, `Unreachable` and OSError.
        """
        source = spec.source.oci
        assert source is not None, "it is of a registry"
        release = await self._turns.take(namespace)
        started = time.perf_counter()
        try:
            secret = await self._secret(namespace, source)
            pulled = await self._puller.pull(
                Artifact(
                    namespace=namespace,
                    ref=source.ref,
                    digest=source.digest,
                    module_digest=spec.digest or "",  # which the CRD does not let through
                    secret=secret,
                    verify=tuple(PublicKey(each.name, each.public_key) for each in source.verify),
                )
            )
        except BaseException as error:
            release()
            if isinstance(error, Exception):
                self._metrics.pulled(_result(error), time.perf_counter() - started)
            raise
        self._metrics.pulled(PULLED, time.perf_counter() - started)

        def let_go() -> None:
            pulled.close()
            release()

        return pulled, let_go

    def start(self, key: Key, spec: ModuleSpec) -> None:
        """Pull a module and have it compiled, if that is not under way; then wake it."""
        what = origin(spec)
        pulling = self._pulling.get(key)
        if pulling is not None:
            if pulling[0] == what:
                return
            pulling[1].cancel()

        async def work() -> None:
            known = _Known(what, None)
            try:
                pulled, let_go = await self.pull(key.namespace, spec)
                try:
                    known = _Known(what, pulled.signed_by)

                    async def read() -> bytes:
                        return await asyncio.to_thread(pulled.read)

                    await self._store.load(spec.digest or "", read, key.namespace)
                    self._built(key, spec, spec.digest or "")
                finally:
                    let_go()
            except (ModuleLoadError, APIError, Unreachable, OSError) as error:
                known = _Known(what, known.signed_by, error)
            except Exception as error:
                # A bug of ours: to be tried again, and not to be waited for without end.
                log.exception("%s could not be pulled", key)
                known = _Known(what, known.signed_by, OSError(f"the operator failed: {type(error).__name__}: {error}"))
            if self._pulling.get(key) == (what, task):
                del self._pulling[key]
                self._known[key] = known
                self._wake(key)

        task = asyncio.create_task(work(), name=f"pull {key}")
        self._pulling[key] = what, task

    async def _secret(self, namespace: str, source: OCISource) -> bytes | None:
        """The content of the pull Secret, which the pull's child parses. Raises ModuleLoadError and others."""
        if source.pull_secret_ref is None:
            return None
        name = source.pull_secret_ref.name
        try:
            found = await self._api.read_secret(namespace, name)
        except APIError as error:
            if error.code != HTTPStatus.FORBIDDEN:
                raise
            raise _unauthorized(may_not_be_read(name, error)) from None
        if found is None:
            raise _unauthorized(f"Secret {name} (spec.source.oci.pullSecretRef) does not exist")
        content = (found.get("data") or {}).get(SECRET_KEY)
        # Its type is looked at too: a module's author may name any Secret, and one that is for something else is not to
        # be tried as this.
        if found.get("type") != SECRET_TYPE or not isinstance(content, str) or found.get(EXCESS_FIELD):
            raise _unauthorized(
                f"Secret {name} (spec.source.oci.pullSecretRef) is not of the type {SECRET_TYPE}: make it with "
                "`kubectl create secret docker-registry`"
            )
        try:
            return base64.b64decode(content, validate=True)
        except binascii.Error:
            raise _unauthorized(f"Secret {name}, key {SECRET_KEY} is not base64") from None


def _unauthorized(what: str) -> ModuleLoadError:
    return ModuleLoadError(ModuleReason.UNAUTHORIZED, what)


def _result(error: BaseException) -> str:
    return error.reason.value if isinstance(error, ModuleLoadError) else "Error"
