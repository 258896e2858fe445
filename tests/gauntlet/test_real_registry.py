"""Modules that the real oras has pushed to the real registry (CNCF distribution), with signatures of both forms."""

import base64
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

import pytest

from curation.oci.frames import PublicKey
from curation.oci.puller import Artifact, Puller
from curation.wasm.module_errors import ModuleLoadError, ModuleReason
from testing.controlplane.errors import ControlPlaneError
from testing.registry.build import REGISTRY
from tests.harness.certificates import self_signed
from tests.harness.scripted_registry import BUNDLE, Signer, digest_of

SECONDS = 120
WASM = b"\0asm\x0d\0\x01\0" + bytes(1 << 20)


@dataclass
class Registry:
    """A registry that serves, and oras beside it."""

    folder: Path
    programs: Path
    authority: Path
    ref: str

    def oras(self, *arguments: str) -> str:
        command = [str(self.programs / "oras"), *arguments, "--ca-file", str(self.authority)]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def push(self, name: str, content: bytes) -> str:
        """Push a module; the digest that oras prints."""
        (self.folder / f"{name}.wasm").write_bytes(content)
        printed = self.oras("push", f"{self.ref}:{name}", f"{name}.wasm:application/wasm", "--format", "json")
        return str(json.loads(printed)["digest"])


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    try:
        programs = REGISTRY.find_or_build()
    except ControlPlaneError as error:
        pytest.skip(f"the registry cannot be built here: {error}")
    authority, _ = self_signed(tmp_path, "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tls = {"certificate": str(authority), "key": str(tmp_path / "127.0.0.1.key")}
    config = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "data")}},
        "http": {"addr": f"127.0.0.1:{port}", "secret": "of-this-test", "tls": tls},
    }
    (tmp_path / "config.yml").write_text(json.dumps(config), encoding="utf-8")
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with (tmp_path / "log").open("wb") as log:
        command = [str(programs / "registry"), "serve", str(tmp_path / "config.yml")]
        serving = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        until = time.monotonic() + SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < until, (tmp_path / "log").read_text()
                time.sleep(0.1)
        yield Registry(tmp_path, programs, authority, f"127.0.0.1:{port}/team/module")
    finally:
        serving.kill()
        serving.wait()


async def test_what_oras_pushes_is_pulled_once_it_is_signed_in_either_form(registry: Registry) -> None:
    signer = Signer()
    puller = Puller(
        allow=[ip_network("127.0.0.0/8")],
        ca_bundle=registry.authority,
        required=[PublicKey(signer.name, signer.pem)],
    )
    for form in ("bundle", "simple"):
        wasm = WASM + form.encode()
        digest = registry.push(form, wasm)
        artifact = Artifact(namespace="ns", ref=registry.ref, digest=digest, module_digest=digest_of(wasm))
        with pytest.raises(ModuleLoadError) as refused:
            await puller.pull(artifact)
        assert refused.value.reason is ModuleReason.NOT_SIGNED

        if form == "bundle":
            (registry.folder / "bundle.json").write_bytes(signer.bundle(digest))
            registry.oras("attach", "--artifact-type", BUNDLE, f"{registry.ref}@{digest}", f"bundle.json:{BUNDLE}")
        else:
            payload, signature = signer.simple(digest)
            (registry.folder / "payload.json").write_bytes(payload)
            said = {"payload.json": {"dev.cosignproject.cosign/signature": base64.b64encode(signature).decode()}}
            (registry.folder / "said.json").write_text(json.dumps(said), encoding="utf-8")
            media = "application/vnd.dev.cosign.simplesigning.v1+json"
            tag = f"{registry.ref}:{digest.replace(':', '-')}.sig"
            registry.oras("push", tag, "--annotation-file", "said.json", f"payload.json:{media}")
        pulled = await puller.pull(artifact)
        assert (pulled.read(), pulled.signed_by) == (wasm, (signer.name,))
        pulled.close()
