"""One pull: what it takes, what it refuses, and that no registry gets it to do what it should not."""

import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from curation.egress.client import EgressClient
from curation.egress.floor import AddressFloor
from curation.oci.pull import MAX_PARTS, MAX_SIGNATURES, Pulled, pull
from curation.oci.pull_secret import PullSecret
from curation.oci.reference import Reference
from curation.oci.session import Session
from curation.oci.signatures import Key
from curation.wasm.module_errors import ModuleLoadError, ModuleReason
from curation.wasm.module_size import MAX_MODULE_BYTES
from tests.harness.scripted_registry import (
    OCI_INDEX,
    OCI_MANIFEST,
    Answer,
    ScriptedRegistry,
    Signer,
    answers,
    digest_of,
    scripted_registry,
)

WASM = b"\0asm\x0d\x00\x01\x00 not really"
SECONDS = 60.0
Puller = Callable[..., Any]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[ScriptedRegistry]:
    with scripted_registry(tmp_path) as served:
        yield served


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedRegistry]:
    """Another host: another port is as good as one."""
    with scripted_registry(tmp_path_factory.mktemp("elsewhere")) as served:
        yield served


@pytest.fixture
async def pulled(registry: ScriptedRegistry) -> AsyncIterator[Puller]:
    clients: list[EgressClient] = []

    async def do(
        digest: str,
        *,
        module: str = digest_of(WASM),
        secret: dict[str, Any] | None = None,
        ca: Path | None = None,
        **more: Any,
    ) -> Pulled:
        client = EgressClient(AddressFloor([ip_network("127.0.0.0/8")]), ca_bundle=ca or registry.ca)
        clients.append(client)
        auths = PullSecret(json.dumps({"auths": secret}).encode()) if secret is not None else None
        session = Session(client, Reference.parse(registry.ref), auths, retry_seconds=(0.0, 0.0))
        return await pull(session, digest, module, more.get("demands", ()), SECONDS)

    yield do
    for client in clients:
        await client.close()


def both(tmp_path: Path, *registries: ScriptedRegistry) -> Path:
    bundle = tmp_path / "both.pem"
    bundle.write_bytes(b"".join(each.ca.read_bytes() for each in registries))
    return bundle


async def refused(pulled: Puller, digest: str, **more: Any) -> ModuleLoadError:
    with pytest.raises(ModuleLoadError) as caught:
        await pulled(digest, **more)
    return caught.value


async def test_a_module_is_pulled_by_the_digest_of_its_manifest(registry: ScriptedRegistry, pulled: Puller) -> None:
    digest = registry.module(WASM)
    assert (await pulled(digest)).content == WASM
    assert registry.paths() == [
        f"/v2/team/module/manifests/{digest}",
        f"/v2/team/module/blobs/{digest_of(WASM)}",
    ]


async def test_an_artifact_with_another_module_than_the_spec_says_is_not_fetched(
    registry: ScriptedRegistry, pulled: Puller
) -> None:
    error = await refused(pulled, registry.module(b"another"))
    assert (error.reason, error.may_pass) == (ModuleReason.DIGEST_MISMATCH, False)
    assert not any("/blobs/" in path for path in registry.paths())


async def test_a_manifest_of_another_digest_is_not_believed(registry: ScriptedRegistry, pulled: Puller) -> None:
    good = registry.module(WASM)
    asked = digest_of(b"what the spec names")
    registry.routes[f"{registry.prefix}/manifests/{asked}"] = registry.routes[f"{registry.prefix}/manifests/{good}"]
    error = await refused(pulled, asked)
    assert error.reason is ModuleReason.DIGEST_MISMATCH
    assert not any("/blobs/" in path for path in registry.paths())


async def test_a_module_of_another_digest_is_not_taken(registry: ScriptedRegistry, pulled: Puller) -> None:
    digest = registry.module(WASM)
    other = bytes(len(WASM))
    registry.routes[f"{registry.prefix}/blobs/{digest_of(WASM)}"] = answers(200, other)
    assert (await refused(pulled, digest)).reason is ModuleReason.DIGEST_MISMATCH


async def test_what_is_not_there_is_not_found(registry: ScriptedRegistry, pulled: Puller) -> None:
    assert (await refused(pulled, digest_of(b"nothing"))).reason is ModuleReason.NOT_FOUND


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"mediaType": OCI_INDEX, "manifests": []}, "index"),
        ({"manifests": [], "schemaVersion": 2}, "index"),
        ({"layers": []}, "0 layers"),
        ({"layers": [{"mediaType": "application/tar<script>", "digest": digest_of(WASM), "size": 1}]}, "oras push"),
        ({"layers": [{"mediaType": "application/wasm", "digest": digest_of(WASM), "size": 1}] * 2}, "2 layers"),
        ({"layers": [{"mediaType": "application/wasm", "digest": "md5:1", "size": 1}]}, "layers.0.digest"),
        ({"layers": "many"}, "layers"),
        ({"layers": [{"digest": digest_of(WASM), "size": -1}]}, "layers.0.size"),
    ],
)
async def test_an_artifact_of_another_form_is_refused_with_what_helps(
    registry: ScriptedRegistry, pulled: Puller, document: dict[str, Any], said: str
) -> None:
    error = await refused(pulled, registry.manifest(document))
    assert (error.reason, error.may_pass) == (ModuleReason.INVALID, False)
    assert said in error.message
    assert "<" not in error.message


async def test_a_module_over_the_bound_is_not_fetched(registry: ScriptedRegistry, pulled: Puller) -> None:
    digest = registry.module(WASM, size=MAX_MODULE_BYTES + 1)
    assert (await refused(pulled, digest)).reason is ModuleReason.TOO_LARGE
    assert not any("/blobs/" in path for path in registry.paths())


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    while True:
        handler.wfile.write(b"10000\r\n" + bytes(1 << 16) + b"\r\n")


def lies(handler: BaseHTTPRequestHandler) -> None:
    """Announces more than it sends."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(WASM)))
    handler.end_headers()
    handler.wfile.write(WASM[:3])


def announces(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(1 << 40))
    handler.end_headers()


@pytest.mark.parametrize("hostile", [endless, lies, announces])
@pytest.mark.parametrize("part", ["manifests", "blobs"])
async def test_an_answer_without_end_or_of_another_length_is_given_up(
    registry: ScriptedRegistry, pulled: Puller, hostile: Callable[[BaseHTTPRequestHandler], None], part: str
) -> None:
    digest = registry.module(WASM)
    name = digest if part == "manifests" else digest_of(WASM)
    registry.routes[f"{registry.prefix}/{part}/{name}"] = hostile
    error = await refused(pulled, digest)
    assert (error.reason, error.may_pass) == (ModuleReason.PULL_FAILED, True)


async def test_a_registry_that_fails_is_asked_again(registry: ScriptedRegistry, pulled: Puller) -> None:
    digest = registry.module(WASM)
    path = f"{registry.prefix}/manifests/{digest}"
    good, failures = registry.routes[path], iter([answers(503), answers(429, Retry_After="0")])
    registry.routes[path] = lambda handler: next(failures, good)(handler)
    assert (await pulled(digest)).content == WASM

    registry.routes[path] = answers(503, b"a secret of its own")
    error = await refused(pulled, digest)
    assert error.reason is ModuleReason.PULL_FAILED
    assert "503" in error.message
    assert "secret" not in error.message, "nothing of an answer is repeated"


async def test_a_registry_of_an_unknown_authority_is_said_to_need_the_option(
    registry: ScriptedRegistry, elsewhere: ScriptedRegistry, pulled: Puller
) -> None:
    error = await refused(pulled, registry.module(WASM), ca=elsewhere.ca)
    assert (error.reason, error.may_pass) == (ModuleReason.PULL_FAILED, True)
    assert "name its authority with --ca-bundle" in error.message
    assert registry.asked == []


async def test_a_blob_elsewhere_is_fetched_without_the_registrys_authorization(
    registry: ScriptedRegistry, elsewhere: ScriptedRegistry, pulled: Puller, tmp_path: Path
) -> None:
    digest = registry.module(WASM)
    registry.guard = basic_guard("user", "word")
    elsewhere.routes["/storage"] = answers(200, WASM)
    registry.routes[f"{registry.prefix}/blobs/{digest_of(WASM)}"] = answers(
        307, Location=f"https://{elsewhere.host}/storage?signature=a%2Fb%2Bc"
    )
    ca = both(tmp_path, registry, elsewhere)
    assert (await pulled(digest, secret={registry.host: login("user", "word")}, ca=ca)).content == WASM
    assert [(each.path, each.authorization) for each in elsewhere.asked] == [("/storage?signature=a/b%2Bc", None)]


async def test_a_relative_redirect_is_followed_thrice_and_no_more(registry: ScriptedRegistry, pulled: Puller) -> None:
    digest = registry.module(WASM)
    registry.routes["/a/1"] = answers(302, Location="2")
    registry.routes["/a/2"] = answers(308, Location="/a/3")
    registry.routes["/a/3"] = answers(200, WASM)
    path = f"{registry.prefix}/blobs/{digest_of(WASM)}"
    registry.routes[path] = answers(307, Location="/a/1")
    assert (await pulled(digest)).content == WASM

    registry.routes["/a/3"] = answers(302, Location="/a/4")
    error = await refused(pulled, digest)
    assert "more than 3 times" in error.message
    assert "/a/4" not in registry.paths()


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("https://169.254.169.254/latest/meta-data/", "no policy can allow it"),
        ("https://[::ffff:169.254.169.254]/", "no URL of ours"),
        ("https://10.0.0.1/", "--allow-cidr"),
        ("https://2852039166/", "no policy can allow it"),
        ("http://127.0.0.1/", "http"),
        ("file:///etc/passwd", "no URL of ours"),
        ("https://user:word@127.0.0.1/", "no URL of ours"),
        ("", "more than 3 times"),
    ],
)
@pytest.mark.parametrize("part", ["manifests", "blobs"])
async def test_a_redirect_to_where_nothing_may_go_is_not_followed(
    registry: ScriptedRegistry, pulled: Puller, target: str, said: str, part: str
) -> None:
    digest = registry.module(WASM)
    name = digest if part == "manifests" else digest_of(WASM)
    registry.routes[f"{registry.prefix}/{part}/{name}"] = answers(307, Location=target)
    error = await refused(pulled, digest)
    assert error.reason is ModuleReason.PULL_FAILED
    assert said in error.message


def login(user: str, word: str) -> dict[str, str]:
    return {"username": user, "password": word}


def encoded(user: str, word: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{word}'.encode()).decode()}"


def basic_guard(user: str, word: str) -> Callable[[BaseHTTPRequestHandler], bool]:
    def guard(handler: BaseHTTPRequestHandler) -> bool:
        if handler.headers.get("Authorization") == encoded(user, word):
            return True
        answers(401, WWW_Authenticate='Basic realm="x"')(handler)
        return False

    return guard


def bearer_guard(realm: str, token: str = "good") -> Callable[[BaseHTTPRequestHandler], bool]:
    def guard(handler: BaseHTTPRequestHandler) -> bool:
        if not handler.path.startswith("/v2/") or handler.headers.get("Authorization") == f"Bearer {token}":
            return True
        challenge = f'Bearer realm="{realm}",service="the service",scope="repository:all/of/it:pull,push"'
        answers(401, WWW_Authenticate=challenge)(handler)
        return False

    return guard


async def test_a_private_registry_takes_the_credentials_of_its_own_entry(
    registry: ScriptedRegistry, pulled: Puller
) -> None:
    digest = registry.module(WASM)
    registry.guard = basic_guard("user", "wörd:1")
    auth = base64.b64encode("user:wörd:1".encode()).decode()
    for secret in ({registry.host: login("user", "wörd:1")}, {f"https://{registry.host}/v2/": {"auth": auth}}):
        assert (await pulled(digest, secret=secret)).content == WASM
    narrow = {f"{registry.host}/team": login("user", "wörd:1"), registry.host: login("other", "x")}
    assert (await pulled(digest, secret=narrow)).content == WASM


async def test_credentials_of_another_registry_are_not_sent(registry: ScriptedRegistry, pulled: Puller) -> None:
    digest = registry.module(WASM)
    registry.guard = basic_guard("user", "word")
    for secret in (
        None,
        {},
        {"127.0.0.1": login("user", "word")},
        {"docker.io": login("user", "word")},
        {f"{registry.host}/other": login("user", "word")},
        {f"{registry.host}/tea": login("user", "word")},
    ):
        error = await refused(pulled, digest, secret=secret)
        assert error.reason is ModuleReason.UNAUTHORIZED
        assert "spec.source.oci.pullSecretRef" in error.message
    assert {each.authorization for each in registry.asked} == {None}


async def test_wrong_credentials_are_said_to_be_wrong(registry: ScriptedRegistry, pulled: Puller) -> None:
    registry.guard = basic_guard("user", "word")
    error = await refused(pulled, registry.module(WASM), secret={registry.host: login("user", "other")})
    assert error.reason is ModuleReason.UNAUTHORIZED
    assert "are wrong" in error.message


async def test_a_token_is_asked_for_with_our_own_scope(registry: ScriptedRegistry, pulled: Puller) -> None:
    digest = registry.module(WASM)
    registry.guard = bearer_guard(f"https://{registry.host}/token?x=1")
    registry.routes["/token"] = answers(200, json.dumps({"token": "good", "expires_in": 60}).encode())
    assert (await pulled(digest)).content == WASM
    assert (await pulled(digest, secret={registry.host: login("user", "word")})).content == WASM
    asked = [each for each in registry.asked if each.path.startswith("/token")]
    assert {each.path for each in asked} == {"/token?x=1&scope=repository:team/module:pull&service=the+service"}
    assert [each.authorization for each in asked] == [None, encoded("user", "word")]


async def test_credentials_are_not_sent_to_a_token_service_elsewhere(
    registry: ScriptedRegistry, elsewhere: ScriptedRegistry, pulled: Puller, tmp_path: Path
) -> None:
    digest = registry.module(WASM)
    registry.guard = bearer_guard(f"https://{elsewhere.host}/token")
    elsewhere.routes["/token"] = answers(200, b'{"access_token": "good"}')
    ca = both(tmp_path, registry, elsewhere)
    mine = login("user", "word")
    for more in ({}, {elsewhere.host: login("another", "one")}):
        error = await refused(pulled, digest, secret={registry.host: mine, **more}, ca=ca)
        assert error.reason is ModuleReason.UNAUTHORIZED
        assert elsewhere.host in error.message
    assert elsewhere.asked == []

    # Without credentials there is nothing to tell; and who made the Secret may say that both are one.
    assert (await pulled(digest, ca=ca)).content == WASM
    assert (await pulled(digest, secret={registry.host: mine, elsewhere.host: mine}, ca=ca)).content == WASM
    assert [each.authorization for each in elsewhere.asked] == [None, encoded("user", "word")]


@pytest.mark.parametrize(
    ("realm", "body"),
    [
        ("https://169.254.169.254/token", b""),
        ("http://127.0.0.1/token", b""),
        ("https://REGISTRY/token", b"not json"),
        ("https://REGISTRY/token", b'{"token": "two\\nlines"}'),
        ("https://REGISTRY/token", b'{"token": ""}'),
        ("https://REGISTRY/token", b" " * (1 << 17)),
    ],
)
async def test_a_token_service_that_is_none_gets_nobody_further(
    registry: ScriptedRegistry, pulled: Puller, realm: str, body: bytes
) -> None:
    digest = registry.module(WASM)
    registry.guard = bearer_guard(realm.replace("REGISTRY", registry.host))
    registry.routes["/token"] = answers(200, body)
    error = await refused(pulled, digest)
    assert error.reason is ModuleReason.PULL_FAILED


@pytest.mark.parametrize("form", ["simple", "bundle at the tag", "bundle behind the API"])
async def test_a_signature_of_either_form_is_verified_before_the_module_is_fetched(
    registry: ScriptedRegistry, pulled: Puller, form: str
) -> None:
    signer, other = Signer(), Signer("other")
    digest = registry.module(WASM)
    demands = ([Key.read(signer.name, signer.pem)],)
    error = await refused(pulled, digest, demands=demands)
    assert (error.reason, error.may_pass) == (ModuleReason.NOT_SIGNED, True)
    assert "release" in error.message

    def sign(*signers: Signer) -> None:
        if form == "simple":
            registry.sign_simply(digest, *(each.simple(digest) for each in signers))
        else:
            registry.sign_in_bundle(digest, *(each.bundle(digest) for each in signers), api="API" in form)

    sign(other)
    assert (await refused(pulled, digest, demands=demands)).reason is ModuleReason.NOT_SIGNED
    assert not any(path.endswith(digest_of(WASM)) for path in registry.paths())
    sign(other, signer)
    found = await pulled(digest, demands=demands)
    assert (found.content, found.signed_by) == (WASM, ("release",))


async def test_each_demand_needs_a_key_of_its_own(registry: ScriptedRegistry, pulled: Puller) -> None:
    ours, theirs, spare = Signer("ours"), Signer("theirs"), Signer("spare")
    digest = registry.module(WASM)
    keys = {each.name: Key.read(each.name, each.pem) for each in (ours, theirs, spare)}
    demands = ([keys["ours"], keys["spare"]], [keys["theirs"]])
    registry.sign_simply(digest, ours.simple(digest), spare.simple(digest))
    assert "theirs" in (await refused(pulled, digest, demands=demands)).message
    registry.sign_in_bundle(digest, theirs.bundle(digest))
    assert set((await pulled(digest, demands=demands)).signed_by) >= {"ours", "theirs"}


@pytest.mark.parametrize("form", ["simple", "bundle"])
async def test_a_key_of_the_modules_own_does_not_count_for_a_required_one_of_its_name(
    registry: ScriptedRegistry, pulled: Puller, form: str
) -> None:
    """Whoever writes the module chooses the names in `verify`."""
    required, own = Signer("release"), Signer("release")
    digest = registry.module(WASM)
    demands = ([Key.read("release", required.pem)], [Key.read("release", own.pem)])

    def sign(*signers: Signer) -> None:
        if form == "simple":
            registry.sign_simply(digest, *(each.simple(digest) for each in signers))
        else:
            registry.sign_in_bundle(digest, *(each.bundle(digest) for each in signers))

    for alone in (own, required):
        sign(alone)
        assert (await refused(pulled, digest, demands=demands)).reason is ModuleReason.NOT_SIGNED
    sign(own, required)
    assert (await pulled(digest, demands=demands)).content == WASM


async def test_a_signature_of_something_else_does_not_count(registry: ScriptedRegistry, pulled: Puller) -> None:
    signer = Signer()
    digest, other = registry.module(WASM), digest_of(b"another artifact")
    payload, signature = signer.simple(digest)
    registry.sign_simply(
        digest,
        signer.simple(other),
        signer.simple(digest, type="atomic container signature"),
        (payload.replace(b"registry.example", b"registry.exampl3"), signature),
        (payload, b"junk"),
        (b"[]", signer.sign(b"[]")),
    )
    registry.sign_in_bundle(
        digest,
        signer.bundle(other),
        signer.bundle(digest, predicate="https://slsa.dev/provenance/v1"),
        signer.bundle(digest).replace(b"DSSE", b"dsse").replace(b"vnd.in-toto", b"vnd.in-tota"),
        b"{}",
        b"junk",
    )
    demands = ([Key.read(signer.name, signer.pem)],)
    assert (await refused(pulled, digest, demands=demands)).reason is ModuleReason.NOT_SIGNED


async def test_of_many_signatures_only_so_many_are_looked_at(registry: ScriptedRegistry, pulled: Puller) -> None:
    signer, other = Signer(), Signer("other")
    digest = registry.module(WASM)
    others = [other.simple(digest, identity={"docker-reference": str(number)}) for number in range(100)]
    registry.sign_simply(digest, *others, signer.simple(digest))
    demands = ([Key.read(signer.name, signer.pem)],)
    assert (await refused(pulled, digest, demands=demands)).reason is ModuleReason.NOT_SIGNED
    assert sum("/blobs/" in path for path in registry.paths()) == MAX_SIGNATURES


@pytest.mark.parametrize("form", ["simple", "bundle"])
async def test_what_cannot_be_read_hides_no_signature_beside_it(
    registry: ScriptedRegistry, pulled: Puller, form: str
) -> None:
    """Whoever may push adds to these lists, and a registry may know digests of another kind."""
    signer = Signer()
    digest = registry.module(WASM)
    odd = [
        {"mediaType": OCI_MANIFEST, "digest": f"sha512:{'0' * 128}", "size": 1},
        {"mediaType": 7, "digest": None},
        "text",
        *({"mediaType": "x/y", "digest": digest_of(b"%d" % number), "size": 1} for number in range(300)),
    ]
    if form == "simple":
        registry.sign_simply(digest, signer.simple(digest))
        tag, field = f"{digest.replace(':', '-')}.sig", "layers"
    else:
        registry.sign_in_bundle(digest, signer.bundle(digest))
        tag, field = digest.replace(":", "-"), "manifests"
        odd = [{**each, "artifactType": "x/y"} if isinstance(each, dict) else each for each in odd]
    document = registry.documents[tag]
    registry.manifest({**document, field: [*odd, *document[field]]}, tag)
    found = await pulled(digest, demands=([Key.read(signer.name, signer.pem)],))
    assert found.signed_by == ("release",)


@pytest.mark.parametrize("form", ["simple", "bundle"])
async def test_a_signature_with_a_fault_stops_no_other(registry: ScriptedRegistry, pulled: Puller, form: str) -> None:
    """Whoever may push chooses what a manifest says of its layers."""
    signer, other = Signer(), Signer("other")
    digest = registry.module(WASM)
    demands = ([Key.read(signer.name, signer.pem)],)
    wrong = other.bundle(digest) if form == "bundle" else other.simple(digest, identity={})[0]

    def sign(*signers: Signer) -> None:
        if form == "simple":
            registry.sign_simply(digest, (wrong, b"signature"), *(each.simple(digest) for each in signers))
        else:
            registry.sign_in_bundle(digest, wrong, *(each.bundle(digest) for each in signers))
        registry.routes[f"{registry.prefix}/blobs/{digest_of(wrong)}"] = answers(200, wrong + b" ")

    sign()
    error = await refused(pulled, digest, demands=demands)
    assert error.reason is ModuleReason.NOT_SIGNED
    assert "not all that is there can be read" in error.message
    sign(signer)
    assert (await pulled(digest, demands=demands)).signed_by == ("release",)


@pytest.mark.parametrize("status", [401, 403, 404, 405])
async def test_a_registry_without_the_referrers_api_is_asked_for_the_tag(
    registry: ScriptedRegistry, pulled: Puller, status: int
) -> None:
    signer = Signer()
    digest = registry.module(WASM)
    registry.sign_in_bundle(digest, signer.bundle(digest))
    registry.routes[f"{registry.prefix}/referrers/{digest}"] = answers(status)
    found = await pulled(digest, demands=([Key.read(signer.name, signer.pem)],))
    assert found.signed_by == ("release",)


def in_parts(registry: ScriptedRegistry, digest: str, *parts: tuple[Answer | bytes, str]) -> None:
    """Has the referrers API answer in parts: each a bundle or what is answered, with its `Link`."""

    def part(content: Answer | bytes, link: str) -> Answer:
        if not isinstance(content, bytes):
            return content
        registry.sign_in_bundle(digest, content)
        index = json.dumps(registry.documents[digest.replace(":", "-")]).encode()
        return answers(200, index, **({"Link": link} if link else {}))

    numbered = [part(*each) for each in parts]
    registry.routes[f"{registry.prefix}/referrers/{digest}"] = lambda handler: numbered[
        int(handler.path.partition("?part=")[2] or 0)
    ](handler)


@pytest.mark.parametrize(
    "link",
    [
        '<{path}?part={next}>; rel="next"',
        "<https://{host}{path}?part={next}>;rel=next",
        '</v2/>; rel="prev", <?part={next}>; title="a, \\"b\\" <c>"; rel="last NEXT"; rel=prev, <{path}>; rel=next',
    ],
)
async def test_a_signature_in_a_later_part_of_the_list_is_found(
    registry: ScriptedRegistry, pulled: Puller, link: str
) -> None:
    signer, other = Signer(), Signer("other")
    digest = registry.module(WASM)
    registry.guard = basic_guard("user", "word")
    path = f"{registry.prefix}/referrers/{digest}"
    links = [link.format(path=path, host=registry.host, next=number) for number in (1, 2)]
    in_parts(registry, digest, (other.bundle(digest), links[0]), (b"{}", links[1]), (signer.bundle(digest), ""))
    secret = {registry.host: login("user", "word")}
    found = await pulled(digest, demands=([Key.read(signer.name, signer.pem)],), secret=secret)
    assert found.signed_by == ("release",)


async def test_a_list_without_end_is_read_so_far_and_no_further(registry: ScriptedRegistry, pulled: Puller) -> None:
    signer, other = Signer(), Signer("other")
    digest = registry.module(WASM)
    path = f"{registry.prefix}/referrers/{digest}"
    demands = ([Key.read(signer.name, signer.pem)],)
    in_parts(registry, digest, (other.bundle(digest), f"<{path}>; rel=next"))
    error = await refused(pulled, digest, demands=demands)
    assert error.reason is ModuleReason.NOT_SIGNED
    assert f"more than {MAX_PARTS} parts" in error.message
    assert registry.paths().count(path) == MAX_PARTS

    in_parts(registry, digest, (signer.bundle(digest), f"<{path}>; rel=next"))
    assert (await pulled(digest, demands=demands)).signed_by == ("release",)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("https://{elsewhere}{path}?part=1", "at another host"),
        ("//{elsewhere}{path}?part=1", "at another host"),
        ("http://{host}{path}?part=1", "at another host"),
        ("https://user:word@{host}{path}?part=1", "no URL of ours"),
        ("https://169.254.169.254/latest/meta-data/", "at another host"),
        ("{path}?part=1", "answers 404 to a part"),
    ],
)
async def test_a_next_part_that_cannot_be_had_hides_no_signature_of_those_before(
    registry: ScriptedRegistry, elsewhere: ScriptedRegistry, pulled: Puller, tmp_path: Path, target: str, said: str
) -> None:
    signer, other = Signer(), Signer("other")
    digest = registry.module(WASM)
    path = f"{registry.prefix}/referrers/{digest}"
    elsewhere.routes[path] = answers(200, b"{}")
    link = f"<{target.format(elsewhere=elsewhere.host, host=registry.host, path=path)}>; rel=next"
    more = {"demands": ([Key.read(signer.name, signer.pem)],), "ca": both(tmp_path, registry, elsewhere)}
    in_parts(registry, digest, (other.bundle(digest), link), (answers(404), ""))
    error = await refused(pulled, digest, **more)
    assert error.reason is ModuleReason.NOT_SIGNED
    assert said in error.message
    in_parts(registry, digest, (signer.bundle(digest), link), (answers(404), ""))
    assert (await pulled(digest, **more)).signed_by == ("release",)
    assert elsewhere.asked == []


async def test_a_signature_behind_many_attestations_is_found(registry: ScriptedRegistry, pulled: Puller) -> None:
    """Where an index says nothing of predicates, as cosign's does, a nightly scan's results are looked at as well."""
    signer = Signer()
    digest = registry.module(WASM)
    scans = [signer.bundle(digest, predicate=f"https://example.com/scan/{night}") for night in range(40)]
    registry.sign_in_bundle(digest, *scans, signer.bundle(digest))
    found = await pulled(digest, demands=([Key.read(signer.name, signer.pem)],))
    assert found.signed_by == ("release",)


def test_the_manifest_of_wkg_is_taken_as_well() -> None:
    """As `wkg oci push` writes it: a config of its own, and one layer."""
    from curation.oci.documents import wasm_layer

    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": digest_of(b"{}"), "size": 2},
        "layers": [{"mediaType": "application/wasm", "digest": digest_of(WASM), "size": len(WASM)}],
    }
    assert wasm_layer(json.dumps(document).encode(), digest_of(WASM)).size == len(WASM)
