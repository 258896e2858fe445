"""The harness as pytest fixtures."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from testing.controlplane.connection import Connection
from testing.sessions import SessionService
from tests.harness.lender import Lender
from tests.harness.world import World, open_world

LENT = "--lend-operators"


def pytest_addoption(parser: pytest.Parser) -> None:
    """See `tests.harness.lender`. It needs one event loop for all tests (asyncio_default_*_loop_scope=session)."""
    parser.addoption(LENT, type=int, default=0, metavar="N", help="let an operator serve so many tests")


def pytest_configure(config: pytest.Config) -> None:
    """The marker."""
    config.addinivalue_line("markers", "own_operator: the test starts or kills operators itself, and is lent none")


@pytest.fixture(scope="session")
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the operators of one test worker keep compiled modules: compiling takes longer than most tests."""
    folder = tmp_path_factory.mktemp("modules")
    folder.chmod(0o700)
    return folder


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lender(request: pytest.FixtureRequest, installed: Connection) -> AsyncIterator[Lender | None]:
    """Lends operators, if that is asked for."""
    size: int = request.config.getoption(LENT)
    lender = Lender(installed, size) if size else None
    yield lender
    if lender is not None:
        await lender.close()


@pytest.fixture
async def world(
    request: pytest.FixtureRequest, installed: Connection, module_cache: Path, lender: Lender | None
) -> AsyncIterator[World]:
    """A namespace of the shared control plane, with a session service and the history of its jobs; no operator yet."""
    if lender is None or request.node.get_closest_marker("own_operator"):
        async with open_world(installed, request.getfixturevalue("namespace"), module_cache) as opened:
            yield opened
        return
    failed, namespace = request.session.testsfailed, await lender.namespace()
    try:
        async with open_world(installed, namespace, module_cache, lender) as opened:
            yield opened
    finally:
        if request.session.testsfailed != failed:
            lender.spoil()
        lender.done(namespace)


@pytest.fixture
def sessions(world: World) -> SessionService:
    """The world's session service."""
    return world.service
