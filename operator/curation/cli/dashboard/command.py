"""dashboard: jobs and approvals in the browser."""

import asyncio
import contextlib
import signal
import webbrowser

import click

from curation.cli.access import Cluster
from curation.cli.errors import PluginError
from curation.cli.options import all_namespaces_option, with_cluster
from curation.cli.output import note, say


@click.command()
@all_namespaces_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1; by default a free one.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@with_cluster
async def dashboard(cluster: Cluster, all_namespaces: bool, port: int, no_browser: bool) -> None:
    """Show jobs and approvals in the browser, as they change, and decide there.

    The page is served on 127.0.0.1 with your own rights, for whoever has the address that is printed: give it to
    nobody. Ctrl-C ends it.
    """
    # Only this verb needs a server: the others begin without it.
    from curation.cli.dashboard.feed import Feed
    from curation.cli.dashboard.server import Server

    feed = Feed(cluster.connection, None if all_namespaces else cluster.namespace)
    server = Server(cluster, feed)
    try:
        await server.start(port)
    except OSError as error:
        raise PluginError(f"cannot listen on 127.0.0.1:{port}: {error.strerror or error}") from None
    following = asyncio.create_task(feed.run())
    stop = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(each, stop.set)
    try:
        say(server.url)
        if not no_browser and not await asyncio.to_thread(webbrowser.open, server.url):
            note("No browser could be started: open the address above.")
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait({stopped, following}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if following.done():
            following.result()
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await server.close()
