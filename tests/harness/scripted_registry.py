"""A small registry that does what a test tells it, over https on loopback: also what no honest one does."""

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.harness.certificates import self_signed

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
Answer = Callable[[BaseHTTPRequestHandler], None]


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def answers(status: int, body: bytes = b"", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@dataclass
class Asked:
    """A request that arrived."""

    path: str
    authorization: str | None


@dataclass
class ScriptedRegistry:
    """What it answers, by path; anything else is not found."""

    ca: Path
    port: int = 0
    routes: dict[str, Answer] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The manifests and indexes, by name."""
    repository: str = "team/module"
    guard: Callable[[BaseHTTPRequestHandler], bool] = lambda _: True
    """Whether a request is let through; if not, it has answered."""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def ref(self) -> str:
        return f"{self.host}/{self.repository}"

    @property
    def prefix(self) -> str:
        return f"/v2/{self.repository}"

    def paths(self) -> list[str]:
        return [each.path for each in self.asked]

    def blob(self, content: bytes) -> str:
        digest = digest_of(content)
        self.routes[f"{self.prefix}/blobs/{digest}"] = answers(200, content)
        return digest

    def manifest(self, document: dict[str, Any], *names: str) -> str:
        content = json.dumps(document).encode()
        digest = digest_of(content)
        for name in (digest, *names):
            self.documents[name] = document
            self.routes[f"{self.prefix}/manifests/{name}"] = answers(
                200, content, Content_Type=document.get("mediaType", OCI_MANIFEST)
            )
        return digest

    def module(self, wasm: bytes, media_type: str = "application/wasm", **layer: Any) -> str:
        """Push a module as `oras push` does; the digest of its manifest."""
        empty = self.blob(b"{}")
        return self.manifest(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "artifactType": "application/vnd.unknown.artifact.v1",
                "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
                "layers": [{"mediaType": media_type, "digest": self.blob(wasm), "size": len(wasm), **layer}],
            }
        )

    def sign_simply(self, digest: str, *signatures: tuple[bytes, bytes]) -> None:
        """Put payloads and their signatures where cosign's older form has them."""
        layers = [
            {
                "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
                "digest": self.blob(payload),
                "size": len(payload),
                "annotations": {"dev.cosignproject.cosign/signature": base64.b64encode(signature).decode()},
            }
            for payload, signature in signatures
        ]
        self.manifest(
            {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": layers}, f"{digest.replace(':', '-')}.sig"
        )

    def sign_in_bundle(self, digest: str, *bundles: bytes, api: bool = False) -> None:
        """Put bundles where cosign's newer form has them: behind the referrers API, or at its tag."""
        referrers = []
        for bundle in bundles:
            layer = {"mediaType": BUNDLE, "digest": self.blob(bundle), "size": len(bundle)}
            document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": BUNDLE, "layers": [layer]}
            manifest = self.manifest(document)
            size = len(json.dumps(document).encode())
            referrers.append({"mediaType": OCI_MANIFEST, "digest": manifest, "size": size, "artifactType": BUNDLE})
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": referrers}
        if api:
            self.routes[f"{self.prefix}/referrers/{digest}"] = answers(200, json.dumps(index).encode())
        else:
            self.manifest(index, digest.replace(":", "-"))


@contextmanager
def scripted_registry(folder: Path) -> Iterator[ScriptedRegistry]:
    """Serves until the end of the block; its certificate's authority is in `ca`."""
    ca, context = self_signed(folder, "127.0.0.1")
    registry = ScriptedRegistry(ca)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            registry.asked.append(Asked(self.path, self.headers.get("Authorization")))
            if registry.guard(self):
                registry.routes.get(self.path.partition("?")[0], answers(404))(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that has heard enough

    server = Server(("127.0.0.1", 0), Handler)
    # The handshake is for the thread of each request: one that never ends must not stop the others.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    registry.port = server.server_address[1]
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    serving.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


class Signer:
    """A key, and signatures of it as cosign makes them."""

    def __init__(self, name: str = "release") -> None:
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())

    @property
    def pem(self) -> str:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message, ec.ECDSA(hashes.SHA256()))

    def simple(self, digest: str, **critical: Any) -> tuple[bytes, bytes]:
        """A payload of simple signing, and its signature."""
        document = {
            "critical": {
                "identity": {"docker-reference": "registry.example/team/module"},
                "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature",
                **critical,
            },
            "optional": None,
        }
        payload = json.dumps(document).encode()
        return payload, self.sign(payload)

    def bundle(self, digest: str, predicate: str = "https://sigstore.dev/cosign/sign/v1") -> bytes:
        """A Sigstore bundle with an in-toto statement."""
        kind, _, value = digest.partition(":")
        statement = json.dumps(
            {
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{"digest": {kind: value}, "annotations": {}}],
                "predicateType": predicate,
                "predicate": {},
            }
        ).encode()
        media = "application/vnd.in-toto+json"
        encoded = b"DSSEv1 %d %s %d %s" % (len(media), media.encode(), len(statement), statement)
        return json.dumps(
            {
                "mediaType": BUNDLE,
                "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": []},
                "dsseEnvelope": {
                    "payload": base64.b64encode(statement).decode(),
                    "payloadType": media,
                    "signatures": [{"sig": base64.b64encode(self.sign(encoded)).decode()}],
                },
            }
        ).encode()


__all__ = ["Answer", "Asked", "ScriptedRegistry", "Signer", "answers", "digest_of", "scripted_registry"]
