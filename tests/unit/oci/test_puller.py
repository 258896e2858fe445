"""Pulls in children of this process: what they leave, how they end, and that nothing of them stays."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from pathlib import Path

import pytest

from curation.oci.frames import PublicKey
from curation.oci.puller import Artifact, Puller
from curation.wasm.module_errors import ModuleLoadError, ModuleReason
from curation.wasm.module_size import MAX_MODULE_BYTES
from tests.harness.scripted_registry import ScriptedRegistry, Signer, answers, digest_of, scripted_registry

Make = Callable[..., Puller]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[ScriptedRegistry]:
    with scripted_registry(tmp_path) as served:
        yield served


@pytest.fixture
async def make(registry: ScriptedRegistry, tmp_path: Path) -> AsyncIterator[Make]:
    made: list[Puller] = []
    folder = tmp_path / "pulls"
    folder.mkdir()

    def puller(**options: object) -> Puller:
        given = {"folder": folder, "allow": [ip_network("127.0.0.0/8")], "ca_bundle": registry.ca, **options}
        made.append(Puller(**given))  # type: ignore[arg-type]
        return made[-1]

    yield puller
    for each in made:
        await each.close()
    assert list(folder.iterdir()) == []
    assert children() == []


def children() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if (
                int(path.read_text().rpartition(")")[2].split()[1]) == os.getpid()
                and b"pull_child" in path.with_name("cmdline").read_bytes()
            ):
                found.append(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def artifact(registry: ScriptedRegistry, digest: str, wasm: bytes, **more: object) -> Artifact:
    return Artifact(namespace="ns", ref=registry.ref, digest=digest, module_digest=digest_of(wasm), **more)  # type: ignore[arg-type]


async def test_the_largest_module_is_pulled_by_a_child_and_signed_by_a_key_with_a_name(
    registry: ScriptedRegistry, make: Make
) -> None:
    wasm = bytes(MAX_MODULE_BYTES)
    signer = Signer("the-release-key")
    digest = registry.module(wasm)
    registry.sign_simply(digest, signer.simple(digest))
    pulled = await make(required=[PublicKey(signer.name, signer.pem)]).pull(artifact(registry, digest, wasm))
    assert (pulled.size, pulled.signed_by) == (len(wasm), ("the-release-key",))
    assert await asyncio.to_thread(pulled.read) == wasm
    pulled.close()


async def test_what_a_registry_does_wrong_comes_back_as_the_reason(registry: ScriptedRegistry, make: Make) -> None:
    digest = registry.module(b"module")
    registry.routes[f"{registry.prefix}/blobs/{digest_of(b'module')}"] = answers(
        307, Location="https://169.254.169.254/latest/meta-data/"
    )
    with pytest.raises(ModuleLoadError, match="no policy can allow it") as caught:
        await make().pull(artifact(registry, digest, b"module"))
    assert (caught.value.reason, caught.value.may_pass) == (ModuleReason.PULL_FAILED, True)


async def test_an_address_that_may_not_be_reached_is_not(registry: ScriptedRegistry, make: Make) -> None:
    with pytest.raises(ModuleLoadError, match="--allow-cidr"):
        await make(allow=[]).pull(artifact(registry, registry.module(b"m"), b"m"))
    assert registry.asked == []


async def test_a_registry_that_trickles_is_given_up_in_time(registry: ScriptedRegistry, make: Make) -> None:
    def trickles(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while True:
            handler.wfile.write(b"x")
            pause.wait(0.05)

    pause = threading.Event()
    digest = registry.module(b"module")
    registry.routes[f"{registry.prefix}/manifests/{digest}"] = trickles
    with pytest.raises(ModuleLoadError) as caught:
        await make(seconds=3.0).pull(artifact(registry, digest, b"module"))
    assert caught.value.reason is ModuleReason.PULL_FAILED


async def test_a_pull_that_nobody_waits_for_any_more_leaves_no_process(registry: ScriptedRegistry, make: Make) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hangs(_handler: BaseHTTPRequestHandler) -> None:
        asked.set()
        go_on.wait(60)

    digest = registry.module(b"module")
    registry.routes[f"{registry.prefix}/manifests/{digest}"] = hangs
    pull = asyncio.create_task(make().pull(artifact(registry, digest, b"module")))
    await asyncio.to_thread(asked.wait, 60)
    pull.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pull
    assert children() == []
    go_on.set()


async def test_a_key_that_is_none_is_named(registry: ScriptedRegistry, make: Make) -> None:
    bad = PublicKey("mine", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----")
    with pytest.raises(ModuleLoadError, match="mine") as caught:
        await make().pull(artifact(registry, registry.module(b"m"), b"m", verify=(bad,)))
    assert (caught.value.reason, caught.value.may_pass) == (ModuleReason.INVALID, False)


async def test_a_secret_of_another_form_is_said_to_be_one(registry: ScriptedRegistry, make: Make) -> None:
    with pytest.raises(ModuleLoadError, match="docker-registry") as caught:
        await make().pull(artifact(registry, registry.module(b"m"), b"m", secret=b'{"auths": "s3cret"}'))
    assert caught.value.reason is ModuleReason.UNAUTHORIZED
    assert "s3cret" not in caught.value.message
