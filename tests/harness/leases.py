"""Replicas that elect a leader: the Lease of a test's namespace, all that was ever in it, and who leads."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Final

import yaml

from curation.cluster.lease import POLL_PERIOD
from testing.admin_client import AdminClient, Document
from testing.operator_process import OperatorProcess
from tests.harness.history import History
from tests.harness.world import SECONDS, World

NAME: Final = "curation-operator"
_BASE: Final = Path(__file__).parents[2] / "manifests" / "base"
# A crashed leader's lease has to run out first (15 s).
TAKEOVER_SECONDS: Final = SECONDS + 30.0


# Nobody needs an option for it, so it has none.
_LONG_LEASE = """
import sys
from curation.cli.operator import main
from curation.cluster.lease import LeaseElector
LeaseElector.__init__.__kwdefaults__["duration"] = float(sys.argv.pop(1))
main()
"""


def command(duration: float) -> tuple[str, ...]:
    """The operator, with leases that last so long."""
    return (sys.executable, "-c", _LONG_LEASE, str(duration))


class Election:
    """The Lease by which the operators of a world elect their leader."""

    def __init__(self, world: World, history: History) -> None:
        self._world = world
        self._history = history

    def specs(self) -> list[Document]:
        """What was in the Lease, oldest first."""
        return [lease["spec"] for versions in self._history.versions.values() for lease in versions]

    def holders(self) -> list[str]:
        """Who held it, one after the other; an empty name where it was given back."""
        return [holder for holder, _ in groupby(spec.get("holderIdentity", "") for spec in self.specs())]

    def transitions(self) -> int:
        """How often it went to another holder."""
        return int(self.specs()[-1]["leaseTransitions"])

    def waited_for_takeover(self) -> float:
        """Seconds from the last renewal of the holder before last to the moment when the last one took it."""
        last = self.specs()[-1]["holderIdentity"]
        before = next(spec for spec in reversed(self.specs()) if spec.get("holderIdentity", "") not in ("", last))
        return (self.taken() - _time(before["renewTime"])).total_seconds()

    def taken(self) -> datetime:
        """When the last holder took it."""
        last = self.specs()[-1]["holderIdentity"]
        return _time(next(spec for spec in self.specs() if spec.get("holderIdentity") == last)["acquireTime"])

    async def leader(self, *others_than: OperatorProcess) -> OperatorProcess:
        """Wait until a running operator leads, none of these."""

        def leading() -> list[OperatorProcess]:
            holder = self.holders()[-1] if self.specs() else ""
            return [
                operator
                for operator in self._world.operators
                if operator not in others_than and holder and operator.logged("working as", holder=holder)
            ]

        await self._world.until(lambda: bool(leading()), "an operator leads", TAKEOVER_SECONDS)
        (found,) = leading()
        return found


@asynccontextmanager
async def election(world: World) -> AsyncIterator[Election]:
    """The Lease of this world, from before it is made; the operator's account may use it as the shipped role says."""
    await grant(world.cluster)
    async with History(world.cluster, "leases", world.notify) as history:
        yield Election(world, history)
        history.check_complete()


class Polls:
    """Polls the Lease as often as a candidate does, and so shows how slow that is on this machine now."""

    def __init__(self) -> None:
        self.longest = POLL_PERIOD
        """Seconds from one answer to the next."""

    @property
    def slowness(self) -> float:
        """How many times longer than the period; 1 on an idle machine."""
        return self.longest / POLL_PERIOD

    async def run(self, cluster: AdminClient) -> None:
        """Go on until cancelled."""
        answered = time.monotonic()
        while True:
            await asyncio.sleep(POLL_PERIOD)
            await cluster.get("leases", NAME)
            self.longest = max(self.longest, time.monotonic() - answered)
            answered = time.monotonic()


@asynccontextmanager
async def polling(cluster: AdminClient) -> AsyncIterator[Polls]:
    """Poll the Lease until the block ends."""
    polls = Polls()
    task = asyncio.create_task(polls.run(cluster), name="polls the Lease")
    try:
        yield polls
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def grant(cluster: AdminClient) -> None:
    """Give the operator's account the shipped role for its Lease, in this namespace."""
    for file in ("lease-role.yaml", "lease-role-binding.yaml"):
        document = yaml.safe_load((_BASE / file).read_text(encoding="utf-8"))
        document["metadata"]["namespace"] = cluster.namespace
        await cluster.create(document)


async def take_from_the_dead(cluster: AdminClient) -> None:
    """Give the Lease back for a leader that was killed, which the next one would else wait 15 s for."""
    await cluster.patch("leases", NAME, {"spec": {"holderIdentity": ""}})


async def leading(operators: list[OperatorProcess]) -> list[float]:
    """The gauge curation_leader of each."""
    return [metrics.value("curation_leader") for metrics in await asyncio.gather(*(o.metrics() for o in operators))]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
