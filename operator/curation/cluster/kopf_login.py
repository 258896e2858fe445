"""How kopf gets to the API server: through our pool, by its ``on.login`` activity.

kopf calls it at its start, and again when a request of its own was answered 401 or found its session closed.
"""

import asyncio
import time
from typing import Final

import kopf

from curation.cluster.connection import Connection
from curation.cluster.watch_stream import WatchResponse
from curation.cluster.watching import Watching

# kopf asks again at once after a 401; a server that goes on refusing must not be asked in a loop.
LOGIN_BACKOFF: Final = (0.0, 1.0, 5.0, 15.0, 30.0)
LOGIN_CALM: Final = 120.0


async def kopf_login(connection: Connection, watching: Watching) -> kopf.AiohttpSession:
    """Credentials for kopf: a session of its own over our pool, whose lists and watches go through `watching`.

    Trap: kopf closes the session that it was given, on a 401 and at its end; so it never gets the one that our own
    calls use, and a session that was refused once is not given again.
    """
    now = time.monotonic()
    recent = [at for at in connection.logins if at > now - LOGIN_CALM]
    if recent:
        await connection.credentials.renew()
    await asyncio.sleep(LOGIN_BACKOFF[min(len(recent), len(LOGIN_BACKOFF) - 1)])
    connection.logins = [*recent, time.monotonic()]
    return kopf.AiohttpSession(
        server=connection.server,
        aiohttp_session=connection.new_session(outermost=(watching.of(connection),), response_class=WatchResponse),
        default_namespace=connection.default_namespace,
    )
