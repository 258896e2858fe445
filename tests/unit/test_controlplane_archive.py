"""Released programs are fetched where the network allows, and else it is said why not, and they are built.

A server of this test plays the release site; the programs in its archive are fakes.
"""

import hashlib
import io
import os
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from testing.controlplane import archive, binaries
from testing.controlplane.build import PACKAGES, find_or_build
from testing.controlplane.errors import ControlPlaneError
from testing.controlplane.progress import Progress

VERSION = "v1.36.2"
Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


def packed(names: tuple[str, ...] = binaries.REQUIRED, said: str = f"Kubernetes {VERSION}") -> bytes:
    """An archive as it is released, with programs that only say their version."""
    content = f"#!/bin/sh\necho {said}\n".encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name in (*names, "../escaped"):
            member = tarfile.TarInfo(f"controller-tools/envtest/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def whole(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)


def cut(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content[: len(content) // 2])


def without_length(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + content)


def missing(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_error(404)


def moved(request: BaseHTTPRequestHandler, content: bytes) -> None:
    if request.path.startswith("/elsewhere"):
        whole(request, content)
        return
    request.send_response(302)
    request.send_header("Location", f"/elsewhere{request.path}")
    request.end_headers()


def forever(piece: bytes) -> Answer:
    def answer(request: BaseHTTPRequestHandler, content: bytes) -> None:
        request.wfile.write(b"HTTP/1.0 200 OK\r\n" + piece)
        while not site_of(request).closing.wait(0.02):
            request.wfile.write(piece)

    return answer


def silent(request: BaseHTTPRequestHandler, content: bytes) -> None:
    site_of(request).closing.wait()


class Site(ThreadingHTTPServer):
    """The release site: answers each request with the next of `answers`, and with the last one again."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Answer] = [whole]
        self.content = packed()
        self.paths: list[str] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/releases/"

    def handle_error(self, *_: object) -> None:
        """Who was cut off by the client has nothing to say."""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        site = site_of(self)
        site.paths.append(self.path)
        answer = site.answers[0] if len(site.answers) == 1 else site.answers.pop(0)
        with suppress(ConnectionError):
            answer(self, site.content)

    def log_message(self, *_: object) -> None:
        pass


def site_of(request: BaseHTTPRequestHandler) -> Site:
    assert isinstance(request.server, Site)
    return request.server


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.closing.set()
        made.shutdown()
        thread.join()


@dataclass
class World:
    """What `find_or_build` meets: a pinned archive, a site, and a compiler that only writes down that it was asked."""

    environ: dict[str, str]
    builds: Path
    out: io.StringIO = field(default_factory=io.StringIO)

    def ask(self) -> binaries.Binaries:
        return find_or_build(self.environ, self.out, controllers=False)

    def built_instead(self, why: str) -> None:
        """Nothing was fetched, the reason was said, and the programs were built."""
        assert self.ask().source == "build"
        said = self.out.getvalue()
        assert f"No released programs: {why}" in said.replace("\n", " "), said
        assert "Building etcd, kube-apiserver, kubectl of Kubernetes" in said
        left = [path.name for path in binaries.cache_folder(self.environ).iterdir()]
        assert sorted(left) == [binaries.built_folder(self.environ).name, "controlplane.lock"]


@pytest.fixture
def world(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    pin_to(site.content, tmp_path, monkeypatch)
    monkeypatch.setattr(archive, "PATIENCE", archive.Patience(silent=60.0, whole=120.0))
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = env ]; then echo go1.26.0; exit; fi\n'
        'while [ "$1" != -o ]; do shift; done\n'
        "for name in server kube-apiserver kubectl; do printf '#!/bin/sh\\n' > $2$name; chmod +x $2$name; done\n"
        f"echo build >> {tmp_path}/builds\n"
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}{os.pathsep}{os.environ['PATH']}")
    environ = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path), archive.SITE: site.url}
    return World(environ, tmp_path / "builds")


def pin_to(content: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pins = folder / "pins.txt"
    name = f"envtest-{VERSION}-{binaries.platform_name()}.tar.gz"
    pins.write_text(f"# a comment\n{hashlib.sha512(content).hexdigest()}  {name}\n")
    monkeypatch.setattr(archive, "PINS", pins)


def test_what_is_pinned_is_fetched_once_and_nothing_is_built(site: Site, world: World) -> None:
    first, again = world.ask(), world.ask()
    assert (first.source, again.source) == ("release", "cache")
    assert first.folder == again.folder
    assert (first.version, first.controller_manager) == (VERSION, None)
    assert sorted(path.name for path in first.folder.iterdir()) == sorted(binaries.REQUIRED)
    assert all(os.access(path, os.X_OK) for path in first.folder.iterdir())
    assert site.paths == [f"/releases/envtest-{VERSION}/envtest-{VERSION}-{binaries.platform_name()}.tar.gz"]
    assert not world.builds.exists()
    assert "Building" not in world.out.getvalue()


def test_a_redirect_is_followed_as_the_real_site_sends_one(site: Site, world: World) -> None:
    site.answers = [moved]
    assert world.ask().source == "release"
    assert len(site.paths) == 2


def test_a_connection_that_is_cut_once_is_tried_once_more(site: Site, world: World) -> None:
    site.answers = [cut, whole]
    assert world.ask().source == "release"
    assert len(site.paths) == 2


def test_a_connection_that_is_always_cut_leads_to_a_build(site: Site, world: World) -> None:
    site.answers = [cut]
    world.built_instead("the connection was cut after ")
    assert len(site.paths) == 2


def test_an_archive_with_another_checksum_is_not_used(site: Site, world: World) -> None:
    site.content = packed(said="Kubernetes v6.6.6")
    world.built_instead(f"envtest-{VERSION}-{binaries.platform_name()}.tar.gz has the wrong checksum")
    assert hashlib.sha512(site.content).hexdigest() in world.out.getvalue()
    assert len(site.paths) == 1


def test_an_archive_that_is_not_there_leads_to_a_build(site: Site, world: World) -> None:
    site.answers = [missing]
    world.built_instead(f"{site.url}envtest-{VERSION}/envtest-{VERSION}-{binaries.platform_name()}.tar.gz answers 404")
    assert len(site.paths) == 1


@pytest.mark.parametrize("piece", [b"X-More: 1\r\n", b"\r\n"], ids=["header", "body"])
def test_an_answer_that_never_ends_is_given_up(
    piece: bytes, site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "PATIENCE", archive.Patience(silent=3.0, whole=3.0))
    site.answers = [forever(piece)]
    world.built_instead(site.url)


def test_a_site_that_says_nothing_is_given_up(site: Site, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PATIENCE", archive.Patience(silent=1.0, whole=600.0))
    site.answers = [silent]
    started = time.monotonic()
    world.built_instead(site.url)
    assert time.monotonic() - started < 600


def test_a_larger_file_than_any_release_is_given_up(site: Site, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_MOST_BYTES", 100)
    world.built_instead(site.url)
    site.answers = [without_length]
    with pytest.raises(archive.NotFetched, match="has more than"):
        archive.fetch(world.environ, Progress(world.out))


def test_without_a_network_there_is_a_build(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    world.environ[archive.SITE] = f"http://127.0.0.1:{port}"
    world.built_instead(f"http://127.0.0.1:{port}/envtest-{VERSION}/")
    assert "cannot be reached" in world.out.getvalue()


@pytest.mark.parametrize("url", ["http://release-site.invalid", "file:///etc", "nonsense", "http://[", "http://x:y"])
def test_an_address_that_leads_nowhere_leads_to_a_build(url: str, world: World) -> None:
    world.environ[archive.SITE] = url
    world.built_instead(url)


def test_what_the_download_says_may_come_in_any_pieces(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A reader that lags behind may be left with the end of a line alone.
    program = tmp_path / "download.py"
    program.write_text(
        "import sys, time\nprint(flush=True)\ntime.sleep(0.2)\nprint('no way', file=sys.stderr)\nsys.exit(1)\n"
    )
    monkeypatch.setattr("testing.controlplane.download.__file__", str(program))
    world.built_instead("no way")


def test_what_a_killed_fetch_has_left_goes_with_the_next_one(site: Site, world: World) -> None:
    left = binaries.cache_folder(world.environ) / ".fetching-of-somebody-killed"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"x")
    assert world.ask().source == "release"
    assert not left.exists()


def test_what_a_killed_build_has_left_goes_with_the_next_one(world: World) -> None:
    world.environ[archive.SITE] = "off"
    target = binaries.built_folder(world.environ)
    left = target.parent / f".building-{target.name}-of-somebody-killed"
    left.mkdir(parents=True)
    world.built_instead("ENVTEST_RELEASES_URL is off")
    assert not left.exists()


def test_a_cache_that_cannot_be_written_is_an_error_that_names_it_and_the_remedy(world: World, tmp_path: Path) -> None:
    # Whoever runs the tests may write everywhere; nobody can make a folder in a file.
    (tmp_path / "cache").write_text("")
    with pytest.raises(ControlPlaneError, match=r"cache/curation-operator.*XDG_CACHE_HOME"):
        world.ask()


def test_fetching_can_be_switched_off(site: Site, world: World) -> None:
    world.environ[archive.SITE] = "off"
    world.built_instead("ENVTEST_RELEASES_URL is off")
    assert site.paths == []


def test_a_platform_without_an_archive_leads_to_a_build(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "platform_name", lambda: "plan9-mips")
    world.built_instead("no released archive is known for plan9-mips")


def test_an_archive_that_lacks_a_program_leads_to_a_build(
    site: Site, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.content = packed(("etcd", "kubectl"))
    pin_to(site.content, tmp_path, monkeypatch)
    world.built_instead(f"envtest-{VERSION}-{binaries.platform_name()}.tar.gz has no kube-apiserver")


def test_programs_that_do_not_run_here_lead_to_a_build(
    site: Site, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.content = packed(said="Kubernetes v1.36.1")
    pin_to(site.content, tmp_path, monkeypatch)
    world.built_instead("kube-apiserver of http")


def test_what_the_tests_need_is_built_since_no_archive_has_the_controllers(site: Site, world: World) -> None:
    find_or_build(world.environ, world.out, controllers=False)
    asked = len(site.paths)
    with pytest.raises(FileNotFoundError):  # The fake compiler makes no controllers.
        find_or_build(world.environ, world.out)
    assert world.builds.exists()
    assert len(site.paths) == asked


def test_the_pins_are_archives_of_one_version_that_the_default_overlay_works_on() -> None:
    lines = [line for line in archive.PINS.read_text().splitlines() if not line.startswith("#")]
    found = {
        archive.pin(name.removesuffix(".tar.gz").partition("-v")[2].partition("-")[2])
        for _, name in map(str.split, lines)
    }
    assert None not in found
    assert len(found) == len(lines)
    versions = {one.version for one in found if one}
    assert len(versions) == 1
    assert binaries.minor_of(versions.pop()) >= binaries.OLDEST_OF_DEFAULT_OVERLAY
    assert all(one and len(one.sha512) == 128 for one in found)
    assert archive.pin("linux-amd64")
    assert archive.pin("amd64") is None
    assert set(PACKAGES) > set(binaries.REQUIRED)
