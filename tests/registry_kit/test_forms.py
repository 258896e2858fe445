"""Artifacts of a real registry in the forms that push programs write.

`wkg oci push` (wasm-pkg-tools, by its source: a manifest of OCI with a config of its own) is played by oras, which
writes any config that it is given.
"""

from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import pytest

from curation.oci.puller import Artifact, Puller
from tests.harness.real_registry import RealRegistry, real_registry
from tests.harness.scripted_registry import digest_of

WASM = b"\0asm\x0d\0\x01\0 of a form"
CONFIGS = {
    "oras": (),
    "wkg": ("--config", "config.json:application/vnd.wasm.config.v0+json"),
    "image": ("--config", "config.json:application/vnd.oci.image.config.v1+json"),
}


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[RealRegistry]:
    async with real_registry(tmp_path) as served:
        yield served


async def test_an_artifact_with_any_config_is_pulled(registry: RealRegistry) -> None:
    (registry.folder / "config.json").write_text('{"architecture":"wasm","os":"wasip2"}', encoding="utf-8")
    (registry.folder / "module.wasm").write_bytes(WASM)
    puller = Puller(allow=[ip_network("127.0.0.0/8")], ca_bundle=registry.authority)
    digests = set()
    for form, config in CONFIGS.items():
        tagged = f"{registry.host}/team/{form}:1"
        await registry.run("oras", "push", *config, tagged, "module.wasm:application/wasm")
        digest = (await registry.run("oras", "resolve", tagged)).strip()
        digests.add(digest)
        pulled = await puller.pull(
            Artifact(namespace="ns", ref=f"{registry.host}/team/{form}", digest=digest, module_digest=digest_of(WASM))
        )
        assert pulled.read() == WASM
        pulled.close()
    assert len(digests) == len(CONFIGS)
    await puller.close()
