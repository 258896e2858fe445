"""Credentials of modules: read when a run starts, not more often than needed, and what is missing is named."""

import base64
from typing import Any

import pytest

from curation.api.excess import EXCESS_FIELD
from curation.api.module import ModuleSpec
from curation.cluster.answers import APIError, Document, Unreachable
from curation.reconciler.sources import module_credentials as credentials
from curation.reconciler.sources.module_credentials import (
    SECRET_FRESH_SECONDS,
    WITHDRAWN_SECONDS,
    CredentialError,
    ModuleCredentials,
)

SPEC = ModuleSpec.model_validate(
    {
        "source": {"builtin": "b"},
        "credentials": [
            {
                "scheme": "https",
                "host": "api.example",
                "port": 443,
                "header": "Authorization",
                "secretKeyRef": {"name": "token", "key": "value"},
            }
        ],
    }
)


class Secrets:
    """What the API server answers about Secrets, and how often it was asked."""

    def __init__(self) -> None:
        self.answer: Document | APIError | Unreachable | None = None
        self.asked = 0

    def hold(self, **data: str) -> None:
        self.answer = {"data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}}

    async def read_secret(self, namespace: str, name: str) -> Document | None:
        self.asked += 1
        if isinstance(self.answer, APIError | Unreachable):
            raise self.answer
        return self.answer


class Case:
    def __init__(self) -> None:
        self.now = 0.0
        self.secrets = Secrets()
        api: Any = self.secrets
        self.credentials = ModuleCredentials(api, lambda: self.now)

    async def header(self, namespace: str = "ns", *, last_known: bool = False) -> str:
        (found,) = await self.credentials.of(namespace, SPEC.credentials, last_known=last_known)
        assert (found.scheme, found.host, found.port, found.header) == ("https", "api.example", 443, "Authorization")
        return found.value


async def test_a_value_is_decoded_without_the_line_end_that_editors_add() -> None:
    case = Case()
    case.secrets.hold(value="Bearer abc\n")
    assert await case.header() == "Bearer abc"


async def test_a_burst_of_runs_reads_a_secret_once_and_a_rotated_one_is_used_soon() -> None:
    case = Case()
    case.secrets.hold(value="old")
    assert [await case.header() for _ in range(50)] == ["old"] * 50
    assert case.secrets.asked == 1
    case.secrets.hold(value="new")
    case.now = SECRET_FRESH_SECONDS - 0.1
    assert await case.header() == "old"
    case.now = SECRET_FRESH_SECONDS
    assert await case.header() == "new"


async def test_each_namespace_has_secrets_of_its_own() -> None:
    case = Case()
    case.secrets.hold(value="one")
    assert await case.header("first") == "one"
    case.secrets.hold(value="two")
    assert await case.header("second") == "two"


async def test_a_module_without_credentials_reads_nothing() -> None:
    case = Case()
    assert await case.credentials.of("ns", ()) == ()
    assert case.secrets.asked == 0


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (None, "Secret token (spec.credentials[].secretKeyRef of the module) does not exist"),
        ({"data": {"other": ""}}, "Secret token has no key value"),
        ({}, "Secret token has no key value"),
        ({"data": {"value": "?"}}, "Secret token, key value is not text"),
        ({"data": {"value": base64.b64encode(b"\xff\xfe").decode()}}, "Secret token, key value is not text"),
        (
            {"data": {"value": base64.b64encode(b"Bearer a\nb").decode()}},
            "Secret token, key value cannot be sent: the value of header 'Authorization' has a control",
        ),
        ({"data": {"value": ""}}, "Secret token, key value is empty"),
        (APIError(403, "Forbidden", "no"), "Secret token cannot be read (Forbidden); let the operator read it"),
    ],
)
async def test_what_is_wrong_is_named_with_its_remedy(answer: Any, says: str) -> None:
    case = Case()
    case.secrets.answer = answer
    with pytest.raises(CredentialError) as caught:
        await case.header()
    assert says in str(caught.value)


async def test_an_unreachable_server_is_not_taken_for_a_missing_secret() -> None:
    case = Case()
    case.secrets.answer = Unreachable("reset")
    with pytest.raises(Unreachable):
        await case.header()


@pytest.mark.parametrize(
    ("answer", "absent"),
    [
        (None, True),
        (APIError(403, "Forbidden", "no"), True),
        (APIError(401, "Unauthorized", "a token has expired"), False),
        (APIError(429, "TooManyRequests", "later"), False),
        (APIError(500, "InternalError", "etcd"), False),
        ({"data": {}}, False),
    ],
)
async def test_a_secret_counts_as_absent_only_if_it_is_not_there_or_may_not_be_read(answer: Any, absent: bool) -> None:
    case = Case()
    case.secrets.answer = answer
    with pytest.raises(CredentialError) as caught:
        await case.header()
    assert caught.value.absent is absent


@pytest.mark.parametrize(
    "gone",
    [
        None,
        APIError(403, "Forbidden", "the namespace is terminating"),
        APIError(500, "InternalError", "etcd"),
        Unreachable("reset"),
    ],
)
async def test_a_cancel_uses_the_last_known_value_of_a_secret_that_cannot_be_read_and_a_run_does_not(gone: Any) -> None:
    case = Case()
    case.secrets.hold(value="kept")
    await case.header()
    case.now = 10 * SECRET_FRESH_SECONDS
    case.secrets.answer = gone
    assert await case.header(last_known=True) == "kept"
    with pytest.raises((CredentialError, Unreachable)):
        await case.header()


async def test_a_failed_read_is_tried_again_at_once() -> None:
    case = Case()
    with pytest.raises(CredentialError):
        await case.header()
    case.secrets.hold(value="there")
    assert await case.header() == "there"


async def test_of_a_secret_only_what_a_module_refers_to_is_kept() -> None:
    case = Case()
    case.secrets.hold(value="kept", another="of no concern")
    await case.header()
    kept = repr(vars(case.credentials))
    assert base64.b64encode(b"kept").decode() in kept
    assert base64.b64encode(b"of no concern").decode() not in kept


async def test_two_keys_of_a_secret_are_of_one_read() -> None:
    case = Case()
    case.secrets.hold(value="first", another="second")
    (credential,) = SPEC.credentials
    reference = credential.secret_key_ref.model_copy(update={"key": "another"})
    other = credential.model_copy(update={"header": "X-Other", "secret_key_ref": reference})
    assert [found.value for found in await case.credentials.of("ns", (credential, other))] == ["first", "second"]
    assert case.secrets.asked == 1


async def test_no_more_values_are_kept_than_the_bound_and_those_that_were_read_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(credentials, "KEPT", 2)
    case = Case()
    case.secrets.hold(value="kept")
    for namespace in ("a", "b", "a", "c"):
        await case.header(namespace)
        case.now += SECRET_FRESH_SECONDS
    case.secrets.answer = None
    for namespace in ("a", "c"):
        assert await case.header(namespace, last_known=True) == "kept"
    with pytest.raises(CredentialError, match="does not exist"):
        await case.header("b", last_known=True)


@pytest.mark.parametrize("answer", [None, APIError(403, "Forbidden", "no")], ids=["gone", "forbidden"])
async def test_a_withdrawn_secret_serves_cancels_for_ten_minutes_and_is_then_forgotten(answer: APIError | None) -> None:
    case = Case()
    case.secrets.hold(value="one")
    assert await case.header() == "one"
    case.now = 3600.0  # read an hour ago; the time counts from when it is found withdrawn
    case.secrets.answer = answer
    for _ in range(3):
        assert await case.header(last_known=True) == "one"
        case.now += 199.0
    with pytest.raises(CredentialError):  # A Submit run does not keep it alive.
        await case.header()
    case.now = 3600.0 + WITHDRAWN_SECONDS
    for _ in range(2):
        with pytest.raises(CredentialError) as refused:
            await case.header(last_known=True)
        assert refused.value.absent
    case.secrets.answer = Unreachable("reset")
    with pytest.raises(Unreachable):
        await case.header(last_known=True)


async def test_a_secret_that_may_be_read_again_is_withdrawn_anew() -> None:
    case = Case()
    case.secrets.hold(value="one")
    await case.header()
    for _ in range(3):
        case.now += SECRET_FRESH_SECONDS
        case.secrets.answer = None
        assert await case.header(last_known=True) == "one"
        case.now += WITHDRAWN_SECONDS - 1
        assert await case.header(last_known=True) == "one"
        case.secrets.hold(value="one")
        assert await case.header() == "one"


async def test_a_failure_that_may_pass_withdraws_nothing() -> None:
    case = Case()
    case.secrets.hold(value="one")
    await case.header()
    for answer in (Unreachable("reset"), APIError(500, "InternalError", "etcd"), APIError(429, "TooMany", "later")):
        case.secrets.answer = answer
        for _ in range(3):
            case.now += WITHDRAWN_SECONDS
            assert await case.header(last_known=True) == "one"


async def test_a_secret_of_more_keys_than_are_read_is_named() -> None:
    case = Case()
    case.secrets.answer = {EXCESS_FIELD: True}
    with pytest.raises(CredentialError, match="Secret token has more than 4096 keys"):
        await case.header()
    case.secrets.hold(value="v")
    assert await case.header() == "v"
