"""Header values that the host adds to a module's requests, read from Secrets when a run starts."""

import base64
import time
from collections.abc import Callable, Collection
from http import HTTPStatus

from cachetools import FIFOCache

from curation.api.excess import EXCESS_FIELD
from curation.api.module import Credential
from curation.cluster.answers import APIError, Unreachable
from curation.cluster.api import ClusterAPI
from curation.cluster.bounds import MAX_KEYS
from curation.egress.errors import EgressRefused
from curation.egress.headers import wire_headers
from curation.execution.origin_credentials import OriginCredential
from curation.execution.seam import Unsupplied
from curation.reconciler.sources.secret_reads import may_not_be_read

# A rotated Secret is in use after this many seconds; without a bound a burst of runs would be a burst of reads.
SECRET_FRESH_SECONDS = 30.0
# A Secret that is gone or may no longer be read serves a Cancel as it was for so long: then it counts as withdrawn.
WITHDRAWN_SECONDS = 600.0
# Values that are kept for a Cancel, the last read of all; with more modules that have credentials, a Cancel in a
# terminating namespace may find its Secret gone.
KEPT = 4096


class CredentialError(Unsupplied):
    """A credential of a module that cannot be read: which, and what helps.

    It is absent if the Secret does not exist or may not be read; else it is a passing failure, or what it holds is no
    use.
    """


class ModuleCredentials:
    """Reads the credentials of modules."""

    def __init__(self, api: ClusterAPI, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._monotonic = monotonic
        self._read: FIFOCache[tuple[str, str, str], tuple[float, str | None]] = FIFOCache(KEPT)
        """By namespace, Secret and key: when it was read, and what it held. Of a Secret nothing else is kept."""
        self._withdrawn: FIFOCache[tuple[str, str], float] = FIFOCache(KEPT)
        """By namespace and Secret: since when it is gone or may no longer be read, while what it held is kept."""

    async def of(
        self, namespace: str, credentials: Collection[Credential], *, last_known: bool = False
    ) -> tuple[OriginCredential, ...]:
        """Each credential with its header's value. Raises CredentialError, or Unreachable.

        With `last_known` (for a Cancel) a Secret that cannot be read counts as it was last read, for 10 minutes if it
        is gone or may not be read: a namespace that terminates loses its Secrets before its sessions are cancelled.
        """
        found = []
        for each in credentials:
            secret = each.secret_key_ref.name
            keys = {other.secret_key_ref.key for other in credentials if other.secret_key_ref.name == secret}
            value = await self._value(namespace, each, keys, last_known)
            found.append(OriginCredential(each.scheme, each.host, each.port, each.header, value))
        return tuple(found)

    async def _value(self, namespace: str, credential: Credential, keys: set[str], last_known: bool) -> str:
        reference = credential.secret_key_ref
        encoded = await self._encoded(namespace, reference.name, reference.key, keys, last_known)
        if encoded is None:
            raise CredentialError(
                f"Secret {reference.name} has no key {reference.key} (spec.credentials[].secretKeyRef of the module)"
            )
        where = f"Secret {reference.name}, key {reference.key}"
        try:
            value = base64.b64decode(encoded, validate=True).decode().strip()
        except ValueError:
            raise CredentialError(f"{where} is not text") from None
        try:
            wire_headers({credential.header: value})
        except EgressRefused as error:
            raise CredentialError(f"{where} cannot be sent: {error}") from None
        if not value:
            raise CredentialError(f"{where} is empty; put the whole value of the header {credential.header} there")
        return value

    async def _encoded(self, namespace: str, name: str, key: str, keys: set[str], last_known: bool) -> str | None:
        """What a key holds, base64; None if there is no such key. One read of the Secret serves all these `keys`."""
        place, now = (namespace, name, key), self._monotonic()
        known = self._read.get(place)
        if known is not None and now < known[0] + SECRET_FRESH_SECONDS:
            return known[1]
        try:
            found = await self._api.read_secret(namespace, name)
        except (APIError, Unreachable) as error:
            forbidden = isinstance(error, APIError) and error.code == HTTPStatus.FORBIDDEN
            if self._kept(namespace, name, forbidden) and last_known and place in self._read:
                return self._read[place][1]
            if isinstance(error, Unreachable):
                raise
            if not forbidden:
                raise CredentialError(f"Secret {name} cannot be read now: {error}") from None
            raise CredentialError(may_not_be_read(name, error), absent=True) from None
        if found is None:
            if self._kept(namespace, name, True) and last_known and place in self._read:
                return self._read[place][1]
            raise CredentialError(
                f"Secret {name} (spec.credentials[].secretKeyRef of the module) does not exist", absent=True
            )
        self._withdrawn.pop((namespace, name), None)
        if found.get(EXCESS_FIELD):
            raise CredentialError(
                f"Secret {name} has more than {MAX_KEYS} keys; put the credential into one of its own"
            )
        data: dict[str, str] = found.get("data") or {}
        for each in keys:
            self._read[namespace, name, each] = (now, data.get(each))
        return data.get(key)

    def _kept(self, namespace: str, name: str, withdrawn: bool) -> bool:
        """Whether what a Secret held may still serve a Cancel; what may not is forgotten.

        `withdrawn`: it was found gone or unreadable now. A failure that may pass starts no time, and stops none.
        """
        place, now = (namespace, name), self._monotonic()
        held = [each for each in self._read if each[:2] == place]
        if not held:
            self._withdrawn.pop(place, None)
            return False
        since = self._withdrawn.setdefault(place, now) if withdrawn else self._withdrawn.get(place, now)
        if now < since + WITHDRAWN_SECONDS:
            return True
        for each in held:
            del self._read[each]
        del self._withdrawn[place]
        return False
