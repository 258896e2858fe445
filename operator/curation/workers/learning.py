"""How the account of the workers' memory learns what there is: from the template, which is in their container."""

import asyncio
import logging
from typing import Final

from curation.isolation.nursery import Nursery
from curation.workers.account import MemoryAccount
from curation.workers.need import capacity, whole_mib

log = logging.getLogger(__name__)

_TRY_SECONDS: Final = 0.5


async def learn(account: MemoryAccount, nursery: Nursery) -> None:
    """Returns once it is known for the first time; each template that is started after that says it anew."""

    def heard(limit: int | None) -> None:
        before, known = account.limit, account.known
        account.set_limit(capacity(limit, apart=nursery.apart))
        if account.limit is None and not known:
            log.info("the workers' container has no memory limit: what they take together is not bounded")
        elif account.limit is not None and account.limit != before:
            whole, share = whole_mib(account.limit), whole_mib(account.quarter or 0)
            log.info("workers may take %s of memory, the runs of one namespace %s", whole, share)

    nursery.hear_memory(heard)
    if not nursery.forks:
        heard(None)
    while not account.known:
        try:
            nursery.warm()
        except OSError as error:  # its container may be still to come
            log.debug("no template of workers can be started yet: %s", error)
        await asyncio.sleep(_TRY_SECONDS)
