"""For coroutines: wait until the account of the workers' memory has room."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from curation.api.names import Trigger
from curation.workers.account import MemoryAccount
from curation.workers.need import Need

if TYPE_CHECKING:
    from curation.wasm.store import LoadedModule


async def admitted(
    account: MemoryAccount,
    ticket: str,
    namespace: str,
    trigger: Trigger,
    need: Need,
    waits: Callable[[str], None] = lambda _: None,
) -> None:
    """Take what it needs, until `MemoryAccount.release`; `waits` hears why it waits, if it does."""
    called: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def call() -> None:
        if not called.done():  # whoever waits may be cancelled in this moment
            called.set_result(None)

    if account.take(ticket, namespace, trigger, need, call):
        return
    waits(account.why(ticket))
    try:
        await called
    except asyncio.CancelledError:
        account.leave(ticket)  # called or not
        raise
    account.take(ticket, namespace, trigger, need, call)


def artifact_bytes(module: "LoadedModule | None") -> int:
    """Size of its machine code; 0 while that is not known."""
    try:
        return module.artifact.path.stat().st_size if module is not None else 0
    except OSError:
        return 0  # it was removed, and is made anew
