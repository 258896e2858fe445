"""Leader election by a coordination.k8s.io Lease, so that replicas do not do the same work twice.

It is never what makes a write safe: two operators that both believe they lead break nothing (docs/fence.md).

1. Each write of the Lease is conditioned on the resourceVersion that was read: of two candidates one wins.
2. The holder renews, and counts its time from *before* the last successful renewal was sent. Past ``renew_deadline``
   it no longer leads, whether or not it can reach the server.
3. A candidate counts from *after* it last saw the Lease change, by its own monotonic clock, and takes the Lease over
   only when ``duration`` has passed without another change. Times written in the Lease are for people; clocks of two
   machines are never compared.

With ``renew_deadline < duration`` the holder has stopped before anyone else may start.

A write that was cut short (a stop, a connection that hangs) may have landed all the same. So a release reads first, and
each try has a part of the deadline only: the next one goes out on another connection.
"""

import asyncio
import logging
import math
import random
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Literal

from curation.cluster.answers import (
    APIError,
    Document,
    Exists,
    Gone,
    Refused,
    Unreachable,
    WriteAnswer,
)
from curation.cluster.api import ClusterAPI
from curation.cluster.cache import revision
from curation.cluster.clock import ServerClock
from curation.cluster.meaning import Fate, meaning
from curation.cluster.resources import LEASES
from curation.cluster.watching import went_back
from curation.cluster.writer import Writer

logger = logging.getLogger(__name__)

# client-go's defaults for controllers are 15, 10 and 2 s. A renewal each second leaves room for more lost ones before
# the deadline, at one small write a second.
DURATION: Final = 15.0
RENEW_DEADLINE: Final = 10.0
RETRY_PERIOD: Final = 1.0
# How often a candidate polls: of the 2 s that a takeover after a stop may take, the stop itself needs most.
POLL_PERIOD: Final = 0.3
POLL_SPREAD: Final = 0.2
# client-go gives a request half of the renew deadline too.
TRIES_IN_DEADLINE: Final = 2
RELEASE_SECONDS: Final = 2.0
_RELEASE_RETRY_SECONDS: Final = 0.1

Callback = Callable[[], Awaitable[None]]


class LeaseElector:
    """One candidate. ``identity`` must be unique to this process, over restarts too: end it with something random."""

    def __init__(
        self,
        api: ClusterAPI,
        writer: Writer,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: ServerClock,
        duration: float = DURATION,
        renew_deadline: float = RENEW_DEADLINE,
        retry_period: float = RETRY_PERIOD,
        poll_period: float = POLL_PERIOD,
        monotonic: Callable[[], float] = time.monotonic,
        lost_history: Callable[[str], None] = logger.critical,
    ) -> None:
        if not 0 < retry_period < renew_deadline < duration:
            raise ValueError("a lease needs retry_period < renew_deadline < duration")
        self._api = api
        self._writer = writer
        self._where = (namespace, name)
        self.identity = identity
        self._clock = clock
        self._duration = duration
        self._renew_deadline = renew_deadline
        self._retry_period = retry_period
        self._poll_period = poll_period
        self._try_seconds = renew_deadline / TRIES_IN_DEADLINE
        self._taking = False
        self._monotonic = monotonic
        self._lost_history = lost_history
        self._reported: dict[str, str] = {}
        self._uid = ""
        self._resource_version = ""
        self._transitions = 0
        self._deadline: float | None = None
        self._seen: tuple[object, ...] | None = None
        self._seen_at = 0.0
        self.holder = ""
        """Who holds the Lease, as last seen; empty when nobody does."""

    @property
    def leading(self) -> bool:
        """Whether this process holds the Lease now. False past the deadline even if the event loop was blocked."""
        return self._deadline is not None and self._monotonic() < self._deadline

    async def run(self, on_started: Callback, on_lost: Callback) -> None:
        """Wait for the Lease, hold it, and return when it is lost.

        ``on_started`` is awaited once the Lease is held, while renewals go on. When the Lease is lost, ``on_started``
        is cancelled if it is still under way, and ``on_lost`` is awaited: it has ``duration - renew_deadline`` seconds
        to stop all work. To stop in good order, stop the work first and then cancel this: that releases the Lease.
        """
        try:
            await self._acquire()
            logger.info("Became the leader: %s holds the lease %s/%s", self.identity, *self._where)
            await self._lead(on_started)
        finally:
            if self.leading or self._taking:
                await self.release()
        logger.error("Lost the lease %s/%s, held by %r now", *self._where, self.holder)
        await on_lost()

    async def _acquire(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._try_seconds):
                    if await self.try_acquire():
                        return
            spread = random.uniform(1 - POLL_SPREAD, 1 + POLL_SPREAD)  # noqa: S311 (spreads, no secret)
            await asyncio.sleep(self._poll_period * spread)

    async def _lead(self, on_started: Callback) -> None:
        async def start() -> None:
            await on_started()

        holding, starting = asyncio.create_task(self._hold()), asyncio.create_task(start())
        try:
            await asyncio.wait({holding, starting}, return_when=asyncio.FIRST_COMPLETED)
            if not holding.done():
                await starting  # raises what on_started raised
                await holding
        finally:
            for task in (holding, starting):
                task.cancel()
            await asyncio.gather(holding, starting, return_exceptions=True)

    async def try_acquire(self) -> bool:
        """Take the Lease if it is free, or expired by this process's own clock. True when it is held then."""
        try:
            lease = await self._read()
        except (APIError, Unreachable) as error:
            self._trouble("read", error)
            return False
        if lease is None:
            return await self._take(self._create())
        spec = lease["spec"]
        if self.holder not in ("", self.identity):
            promised = float(spec.get("leaseDurationSeconds") or self._duration)
            if self._monotonic() < self._seen_at + promised:
                return False
        changed = self.holder != self.identity
        self._transitions = int(spec.get("leaseTransitions") or 0) + changed
        taken = {"acquireTime": self._time()} if changed else {}
        return await self._take(self._renew({"leaseTransitions": self._transitions, **taken}))

    async def _take(self, write: Awaitable[bool | None]) -> bool:
        self._taking = True  # and so it stays if this is cut short: the write may have landed
        taken = await write is True
        self._taking = False
        return taken

    async def _hold(self) -> None:
        """Renew until the Lease is lost or the deadline has passed."""
        try:
            while (left := self._left()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await asyncio.sleep(self._retry_period)
                        async with asyncio.timeout(self._try_seconds):
                            if await self._renew({}) is None:
                                break
        except Exception:
            logger.exception("Cannot go on renewing the lease %s/%s", *self._where)
        self._deadline = None

    def _left(self) -> float:
        return 0.0 if self._deadline is None else self._deadline - self._monotonic()

    async def _renew(self, more: Document) -> bool | None:
        """Write that we hold the Lease. True: written; False: not known, try again; None: another holds it."""
        sent = self._monotonic()
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self._duration),
            "renewTime": self._time(),
            **more,
        }
        answer = await self._patch(spec)
        meant = meaning(answer)
        if meant.obj is not None:
            self._hold_from(sent, meant.obj)
            return True
        if meant.fate is Fate.UNKNOWN:
            # Edited by someone, taken by someone, or renewed by us with the answer lost: a read shows which.
            self._trouble("written", answer, logging.INFO)
            return await self._still_ours()
        if isinstance(answer, Gone):
            return await self._create()
        if meant.wait is not None:
            await asyncio.sleep(meant.wait)
        else:
            self._trouble("written", answer)
        return False

    async def _still_ours(self) -> bool | None:
        try:
            lease = await self._read()
        except (APIError, Unreachable) as error:
            self._trouble("read", error)
            return False
        return False if lease is None or self.holder == self.identity else None

    async def _read(self) -> Document | None:
        lease = await self._api.get(LEASES, *self._where, urgent=True)
        self._well("read")
        if lease is None:
            self.holder = ""
            return None
        before = revision(self._resource_version) if lease["metadata"]["uid"] == self._uid else 0
        self._know(lease)
        if (at := revision(self._resource_version)) < before:
            # A read of one object is never older than the request. It also shows it if the API server itself goes on
            # from a watch that stays silent, because etcd was restored below it.
            self._lost_history(went_back(f"lease {'/'.join(self._where)}", before, at))
        spec = lease.setdefault("spec", {})
        self.holder = spec.get("holderIdentity") or ""
        seen = tuple(spec.get(key) for key in ("holderIdentity", "renewTime", "acquireTime", "leaseTransitions"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._monotonic()
        return lease

    async def _create(self) -> bool:
        sent, now = self._monotonic(), self._time()
        namespace, name = self._where
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self._duration),
            "acquireTime": now,
            "renewTime": now,
            "leaseTransitions": self._transitions,
        }
        body = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": spec,
        }
        answer = await self._api.create(LEASES, namespace, body, urgent=True)
        meant = meaning(answer)
        if meant.obj is not None:
            self._hold_from(sent, meant.obj)
            return True
        # One that another candidate has made meanwhile is no trouble.
        self._trouble("written", answer, logging.INFO if isinstance(answer, Exists) else logging.WARNING)
        return False

    async def release(self) -> None:
        """Give the Lease back at once, for others to take. Stop all work before. It may fail: then it expires."""
        self._deadline = None
        with suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_SECONDS):
                while True:
                    if await self._released():
                        return
                    await asyncio.sleep(_RELEASE_RETRY_SECONDS)
        logger.warning("Could not release the lease %s/%s: others wait until it expires", *self._where)

    async def _released(self) -> bool:
        """Whether it is another's, nobody's, or given back now."""
        try:
            lease = await self._read()
        except (APIError, Unreachable):
            return False
        if lease is None or self.holder != self.identity:
            return True
        answer = await self._patch({"holderIdentity": "", "renewTime": self._time(), "leaseDurationSeconds": 1})
        released = meaning(answer).fate is Fate.LANDED
        if released:
            logger.info("Released the lease %s/%s", *self._where)
        return released

    async def _patch(self, spec: Document) -> WriteAnswer:
        return await self._writer.patch(
            LEASES,
            *self._where,
            resource_version=self._resource_version,
            body={"spec": spec},
            subresource=None,
            urgent=True,
        )

    def _know(self, lease: Document) -> None:
        self._uid, self._resource_version = lease["metadata"]["uid"], lease["metadata"]["resourceVersion"]

    def _hold_from(self, sent: float, lease: Document) -> None:
        self._well("written")
        self._know(lease)
        self._deadline = sent + self._renew_deadline
        self.holder = self.identity

    def _trouble(self, what: Literal["read", "written"], cause: object, level: int = logging.WARNING) -> None:
        """Say that the lease cannot be read or written: once until the cause changes, since it is tried all the time.

        Numbers within the cause (a time, a port, a resourceVersion) make no other one of it.
        """
        said = f"{cause.code} {cause.reason}: {cause.message}" if isinstance(cause, Refused) else str(cause)
        alike = re.sub(r"\d+", "0", said)
        if self._reported.get(what) != alike:
            self._reported[what] = alike
            logger.log(level, "The lease %s/%s cannot be %s, which is tried again: %s", *self._where, what, said)

    def _well(self, what: Literal["read", "written"]) -> None:
        if self._reported.pop(what, None) is not None:
            logger.info("The lease %s/%s is %s again", *self._where, what)

    def _time(self) -> str:
        return self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
