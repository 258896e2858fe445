"""A control plane with Flux' real controllers, the operator for all namespaces, and a git repository for each test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from testing.controlplane.install import OPERATOR_GROUPS, OPERATOR_USER, install
from testing.controlplane.ports import free_port
from testing.controlplane.server import ControlPlane
from testing.gitops import flux
from testing.gitops.build import FLUX
from testing.gitops.flux import Flux
from testing.gitops.repository import Repository
from testing.operator_process import OperatorProcess
from testing.sessions import SessionService
from tests.gitops_kit.team import Team
from tests.harness import certificates
from tests.harness.doors import Door


@pytest.fixture(scope="session")
def programs() -> Path:
    """Flux' controllers."""
    return FLUX.find_or_build()


@pytest.fixture(scope="session")
def server(programs: Path) -> Iterator[ControlPlane]:
    """A control plane of its own: Flux is cluster-admin in it."""
    with ControlPlane(audit_log=True) as made:
        install(made.connection)
        flux.install(made.connection, programs)
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service() -> AsyncIterator[SessionService]:
    """The session service that all jobs call."""
    async with SessionService() as made:
        yield made


@pytest.fixture(scope="session")
def webhook(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Where the operator serves its webhook, and the certificate; the key is beside it. Nobody asks it yet."""
    certificate, _ = certificates.self_signed(tmp_path_factory.mktemp("webhook"), "127.0.0.1")
    return f"127.0.0.1:{free_port()}", certificate


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def operator(server: ControlPlane, webhook: tuple[str, Path]) -> AsyncIterator[OperatorProcess]:
    """The operator, for all namespaces, as its service account."""
    address, certificate = webhook
    options = ("--no-lease", "--allow-cidr", "127.0.0.0/8", "--http-bind", "127.0.0.1:0", "--log-format", "json")
    files = ("--https-certificate", str(certificate), "--https-key", str(certificate.with_suffix(".key")))
    made = OperatorProcess(
        server.connection.environment(OPERATOR_USER, OPERATOR_GROUPS), (*options, "--https-bind", address, *files)
    )
    try:
        await made.start()
        yield made
        await made.stop()
    finally:
        await made.kill()


@pytest.fixture(scope="module")
def gated(server: ControlPlane, programs: Path, request: pytest.FixtureRequest) -> Iterator[Flux]:
    """Flux as the module wants it: its `GATE` says whether a new commit ends the wait for health."""
    options = getattr(request.module, "OPTIONS", ())
    with Flux(server.connection, programs, gate=request.module.GATE, options=options) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def team(
    server: ControlPlane,
    gated: Flux,
    service: SessionService,
    operator: OperatorProcess,
    request: pytest.FixtureRequest,
) -> AsyncIterator[Team]:
    """A namespace that Flux applies from a repository of its own."""
    with Repository() as repository:
        made = Team(server, gated, service, repository, request.node.name)
        await made.begin()
        yield made
        gated.check()
        assert operator.running, operator.text()
        await made.end()


@pytest_asyncio.fixture(loop_scope="session")
async def door(team: Team, webhook: tuple[str, Path]) -> AsyncIterator[Door]:
    """The API server asks the webhook about the team's policies, and about cluster policies with its label."""
    address, certificate = webhook
    made = Door(team.server.connection, team.name)
    made.open(f"https://{address}", certificate.read_bytes())
    yield made
    made.close()
