"""Fixtures of the end-to-end tests: one installation for all of them, and a namespace of jobs for each."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from hack.e2e.__main__ import IMAGE_VARIABLE
from hack.e2e.target import ROOT
from testing.controlplane.errors import KubectlError
from tests.e2e import installation, service
from tests.e2e.kubectl import kubectl, until
from tests.e2e.service import Sessions
from tests.e2e.team import Team

_NO_CLUSTER = "no cluster with a real node: run `make e2e NODE=<folder of a node kit>` or `make e2e IMAGE=<image>`"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the end of the operator's log to a failure."""
    report = yield
    if report.failed and item.path.is_relative_to(Path(__file__).parent):
        try:
            report.sections.append(("log of the operator", installation.logs()))
        except (KubectlError, OSError) as error:
            report.sections.append(("log of the operator", f"cannot be had: {error}"))
    return report


@pytest.fixture(scope="session")
def session_service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    """The session service; and the operator, installed by its image and the default overlay, and taken away after."""
    image = os.environ.get(IMAGE_VARIABLE)
    if not image:
        pytest.skip(_NO_CLUSTER)

    def say(text: str) -> None:
        # It takes a minute or two, and pytest would keep this to itself.
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f"\n  {text}", flush=True)

    try:
        say("set-up: the session service, as a pod")
        sessions = service.start(image)
        say(f"set-up: the operator, from {installation.OVERLAY.relative_to(ROOT)} with {image}")
        overlay = tmp_path_factory.mktemp("overlay")
        installation.install(overlay, image, sessions.network)
        until(lambda: _operator_reaches(sessions), "the operator's pods reach the session service", installation.logs)
        yield sessions
        say("the end: uninstalling as docs/install.md says")
        installation.uninstall(overlay)
    finally:
        service.stop()
    left = [name for name in kubectl("api-resources", "--output=name").split() if name.endswith(".curation.dev")]
    assert left == [], "after an uninstallation as in docs/install.md nothing is left"


@pytest.fixture
def team(session_service: Sessions) -> Iterator[Team]:
    """A namespace of jobs with the shipped module, while both replicas of the operator are ready."""
    until(lambda: len(installation.ready_pods()) == 2, "both replicas are ready", installation.logs)
    made = Team(session_service)
    yield made
    made.delete()


def _operator_reaches(sessions: Sessions) -> bool:
    """A new Service answers a moment after its pod is ready."""
    code = f"import urllib.request as r; r.urlopen('{sessions.url}/healthz', timeout=5)"
    try:
        kubectl("exec", installation.DEPLOYMENT, "-n", installation.SYSTEM, "--", "python", "-c", code)
    except KubectlError:
        return False
    return True
