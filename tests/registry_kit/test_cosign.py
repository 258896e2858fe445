"""What the real cosign writes to the real registry, in both forms, and with each kind of key: we accept exactly that.

| signed                                        | accepted                           |
|-----------------------------------------------|------------------------------------|
| by the key, in either form, of any kind        | yes                                |
| with annotations, and by others too            | yes                                |
| not at all, by another key, something else     | no                                 |
| an attestation of the artifact by the key      | no: it is no signature of a module |
"""

from collections.abc import AsyncIterator, Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from curation.oci.frames import PublicKey
from curation.oci.puller import Artifact, Puller
from curation.wasm.module_errors import ModuleLoadError, ModuleReason
from tests.harness.real_registry import RealRegistry, real_registry
from tests.harness.scripted_registry import digest_of

WASM = b"\0asm\x0d\0\x01\0" + bytes(1 << 20)
OFFLINE = ("--use-signing-config=false", "--tlog-upload=false")
FORMS = {"bundle": (), "simple": ("--new-bundle-format=false",)}


def p384() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP384R1())


def rsa_3072() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 3072)


KINDS: dict[str, Callable[[], PrivateKeyTypes]] = {
    "p384": p384,
    "rsa": rsa_3072,
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}
"""Beside the kind that cosign makes itself."""


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[RealRegistry]:
    async with real_registry(tmp_path) as served:
        yield served


async def new_key(registry: RealRegistry, name: str, kind: str = "cosign") -> PublicKey:
    if kind == "cosign":
        await registry.run("cosign", "generate-key-pair", "--output-key-prefix", name)
    else:
        pem = KINDS[kind]().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (registry.folder / f"{name}.pem").write_bytes(pem)
        await registry.run("cosign", "import-key-pair", "--key", f"{name}.pem", "--output-key-prefix", name, "--yes")
    return PublicKey(name, (registry.folder / f"{name}.pub").read_text(encoding="utf-8"))


async def sign(registry: RealRegistry, name: str, artifact: str, form: str, *more: str) -> None:
    await registry.run("cosign", "sign", "--key", f"{name}.key", *OFFLINE, *FORMS[form], *more, artifact)


async def signed_by(registry: RealRegistry, digest: str, wasm: bytes, *keys: PublicKey) -> tuple[str, ...]:
    """The keys by which a module is accepted; none if it is not."""
    puller = Puller(allow=[ip_network("127.0.0.0/8")], ca_bundle=registry.authority, required=keys)
    artifact = Artifact(
        namespace="ns", ref=f"{registry.host}/team/module", digest=digest, module_digest=digest_of(wasm)
    )
    try:
        pulled = await puller.pull(artifact)
    except ModuleLoadError as error:
        if error.reason is not ModuleReason.NOT_SIGNED:
            raise
        return ()
    assert pulled.read() == wasm
    pulled.close()
    return pulled.signed_by


@pytest.mark.parametrize("kind", ["cosign", *KINDS])
async def test_what_cosign_signs_with_a_key_of_any_kind_is_accepted_in_either_form(
    registry: RealRegistry, kind: str
) -> None:
    key = await new_key(registry, "release", kind)
    for form in FORMS:
        wasm = WASM + form.encode()
        digest = await registry.push("team/module", wasm)
        assert await signed_by(registry, digest, wasm, key) == ()
        await sign(registry, "release", f"{registry.host}/team/module@{digest}", form)
        assert await signed_by(registry, digest, wasm, key) == ("release",)


@pytest.mark.parametrize("form", list(FORMS))
async def test_only_a_signature_of_this_artifact_by_this_key_counts(registry: RealRegistry, form: str) -> None:
    ours, theirs = await new_key(registry, "release"), await new_key(registry, "theirs")
    digest = await registry.push("team/module", WASM)
    other = await registry.push("team/module", WASM + b"other")
    artifact = f"{registry.host}/team/module@{digest}"
    await sign(registry, "release", f"{registry.host}/team/module@{other}", form)
    await sign(registry, "theirs", artifact, form)
    (registry.folder / "said.json").write_text("{}", encoding="utf-8")
    attest = ("cosign", "attest", "--key", "release.key", "--predicate", "said.json", *OFFLINE, *FORMS[form])
    await registry.run(*attest, artifact)
    assert await signed_by(registry, digest, WASM, ours) == ()
    assert await signed_by(registry, digest, WASM, theirs) == ("theirs",)

    await sign(registry, "release", artifact, form, "--annotations", "build=7")
    assert await signed_by(registry, digest, WASM, ours) == ("release",)
    assert set(await signed_by(registry, digest, WASM, ours, theirs)) <= {"release", "theirs"}
