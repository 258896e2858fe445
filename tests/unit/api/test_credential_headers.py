"""Which header may carry a credential: one whose value proves something, none that says who is calling."""

import re

import pytest
from pydantic import ValidationError

from curation.api.identity_headers import IDENTITY_PATTERN, says_who_is_calling
from curation.api.module import Credential

REF = {"name": "s", "key": "k"}
KEYS = ["Authorization", "authorization", "X-Api-Key", "Api-Key", "X-Auth-Token", "Private-Token", "X-Vault-Token"]
OTHER_KEYS = ["Cookie", "Ocp-Apim-Subscription-Key", "X-Goog-Api-Key", "CF-Access-Client-Secret", "DD-API-KEY"]
IDENTITIES = ["X-Remote-User", "x_remote_group", "Impersonate-User", "IMPERSONATE_EXTRA_x", "X-Forwarded-User", "Via"]
OTHER_IDENTITIES = ["X-WebAuth-User", "X-Auth-Request-Email", "Remote-User", "X-Real-IP", "X-SSL-Client-Cert"]
OTHER_SIGNS = ["X.Remote.User", "x~remote~group", "Impersonate!User", "X+Forwarded|User"]
"""Some servers make one CGI variable of all of them."""
OF_THE_HOST = ["Host", "Curation-Run-Id", "Proxy-Authorization", "X-HTTP-Method-Override", "Idempotency_Key"]


@pytest.mark.parametrize("header", KEYS + OTHER_KEYS)
def test_the_usual_headers_of_keys_may(header: str) -> None:
    assert Credential.model_validate({"host": "h", "header": header, "secretKeyRef": REF}).header == header


@pytest.mark.parametrize("header", IDENTITIES + OTHER_IDENTITIES + OTHER_SIGNS)
def test_one_that_says_who_is_calling_may_not(header: str) -> None:
    with pytest.raises(ValidationError, match="tells services who is calling, which no credential may"):
        Credential.model_validate({"host": "h", "header": header, "secretKeyRef": REF})


@pytest.mark.parametrize("header", OF_THE_HOST)
def test_one_of_the_hosts_own_may_not(header: str) -> None:
    with pytest.raises(ValidationError, match="the host itself sets or refuses"):
        Credential.model_validate({"host": "h", "header": header, "secretKeyRef": REF})


@pytest.mark.parametrize("header", KEYS + OTHER_KEYS + IDENTITIES + OTHER_IDENTITIES + OTHER_SIGNS)
def test_the_api_servers_rule_and_the_operators_are_one(header: str) -> None:
    assert (re.search(IDENTITY_PATTERN, header.lower()) is not None) == says_who_is_calling(header)
