"""Signatures as the real cosign has written them, by each kind of key that it makes or imports, in both forms.

`cosign-3.1.3.json` is a record of what tests/registry_kit/test_cosign.py makes anew.
"""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from curation.oci.signatures import Key, signed_in_bundle, signed_simply

RECORD = json.loads(Path(__file__).with_name("cosign-3.1.3.json").read_text(encoding="utf-8"))
DIGEST: str = RECORD["manifestDigest"]
KINDS: dict[str, dict[str, Any]] = RECORD["keys"]
OTHER = f"sha256:{'0' * 64}"


def keys() -> list[Key]:
    return [Key.read(name, kind["publicKey"]) for name, kind in KINDS.items()]


def test_the_record_has_each_kind_of_key() -> None:
    assert set(KINDS) == {"cosign", "p384", "p521", "rsa", "ed25519"}


@pytest.mark.parametrize("name", list(KINDS))
def test_a_signature_is_by_its_own_key_and_of_its_own_artifact_alone(name: str) -> None:
    kind = KINDS[name]
    payload, bundle = kind["payload"].encode(), json.dumps(kind["bundle"]).encode()
    assert [key.name for key in signed_simply(payload, kind["signature"], DIGEST, keys())] == [name]
    assert [key.name for key in signed_in_bundle(bundle, DIGEST, keys())] == [name]
    assert signed_simply(payload, kind["signature"], OTHER, keys()) == []
    assert signed_in_bundle(bundle, OTHER, keys()) == []


@pytest.mark.parametrize("name", list(KINDS))
def test_a_signature_that_was_changed_counts_for_nothing(name: str) -> None:
    kind = KINDS[name]
    raw = base64.b64decode(kind["signature"])
    for changed in (raw[:-1], raw + b"\0", b"", bytes(len(raw)), raw[:-1] + bytes([raw[-1] ^ 1])):
        text = base64.b64encode(changed).decode()
        assert signed_simply(kind["payload"].encode(), text, DIGEST, keys()) == []
        [said] = kind["bundle"]["dsseEnvelope"]["signatures"]
        envelope = {**kind["bundle"]["dsseEnvelope"], "signatures": [{**said, "sig": text}]}
        bundle = json.dumps({**kind["bundle"], "dsseEnvelope": envelope}).encode()
        assert signed_in_bundle(bundle, DIGEST, keys()) == []
    assert signed_simply(kind["payload"].encode() + b" ", kind["signature"], DIGEST, keys()) == []
