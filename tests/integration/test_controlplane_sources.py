"""A control plane starts from real programs that setup-envtest or a release site has, without a build."""

import functools
import hashlib
import http.server
import io
import tarfile
import threading
from pathlib import Path

import pytest

from testing.controlplane import archive, binaries
from testing.controlplane.build import find_or_build
from testing.controlplane.connection import Connection
from testing.controlplane.server import ControlPlane


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Nothing was built, fetched or set."""
    return {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path), archive.SITE: "off"}


@pytest.fixture
def version(control_plane: Connection) -> str:
    return binaries.said_version(control_plane.binaries / binaries.APISERVER)


def starts(found: binaries.Binaries, version: str) -> None:
    with ControlPlane(binaries=found, controller_manager=False) as server:
        assert server.request("GET", "/version")[1]["gitVersion"] == version
        server.kubectl("create", "namespace", "demo")


def test_what_setup_envtest_has_fetched_starts(
    control_plane: Connection, environ: dict[str, str], version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = f"{version.removeprefix('v')}-{binaries.platform_name()}"
    folder = tmp_path / "data" / "kubebuilder-envtest" / "k8s" / name
    folder.mkdir(parents=True)
    for program in binaries.REQUIRED:
        (folder / program).symlink_to(control_plane.binaries / program)
    monkeypatch.setattr("sys.platform", "linux")
    found = find_or_build({**environ, "XDG_DATA_HOME": str(tmp_path / "data")}, io.StringIO(), controllers=False)
    assert (found.folder, found.source) == (folder, "setup-envtest")
    starts(found, version)


def test_what_a_release_site_has_starts(
    control_plane: Connection, environ: dict[str, str], version: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name = f"envtest-{version}-{binaries.platform_name()}.tar.gz"
    released = tmp_path / "site" / f"envtest-{version}" / name
    released.parent.mkdir(parents=True)
    with tarfile.open(released, "w:gz", compresslevel=0) as tar:
        for program in binaries.REQUIRED:
            tar.add(control_plane.binaries / program, f"controller-tools/envtest/{program}")
    with released.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").hexdigest()
    (tmp_path / "pins.txt").write_text(f"{digest}  {name}\n")
    monkeypatch.setattr(archive, "PINS", tmp_path / "pins.txt")
    monkeypatch.setattr(archive, "PATIENCE", archive.Patience(silent=120.0, whole=300.0))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            there = {**environ, archive.SITE: f"http://127.0.0.1:{site.server_port}"}
            found = find_or_build(there, io.StringIO(), controllers=False)
        finally:
            site.shutdown()
            thread.join()
    assert found.source == "release"
    starts(found, version)
