"""Warnings about valid policies: each names its place and the remedy, and a good policy has none."""

import re
from pathlib import Path

import pytest

from curation.checking.policy_judgement import judge_policy
from curation.checking.policy_lint import MAX_WARNING_CHARS, MAX_WARNINGS

MODULE = 'principal == Agent::"m"'
ENDPOINT = 'resource == HttpEndpoint::"h.example"'


def permit(when: str = "", scope: str = f"{MODULE}, action, {ENDPOINT}") -> str:
    return f"permit ({scope}){f' when {{ {when} }}' if when else ''};"


WARNED = {
    "a host in upper case": (
        permit(scope=f'{MODULE}, action, resource == HttpEndpoint::"H.Example"'),
        'line 1, column 68: a call\'s host is in its canonical form, so "H.Example" matches none: write "h.example"',
    ),
    "a host with a final dot": (permit('resource.host == "h.example."'), 'write "h.example"'),
    "a host of another script": (permit('"bücher.example" == resource.host'), 'write "xn--bcher-kva.example"'),
    "a host that is a URL": (permit('resource.host == "https://h.example"'), "no call has this host"),
    "a host with a port": (permit('resource.host == "h.example:443"'), "no call has this host"),
    "a method in lower case": (permit('context.method == "get"'), 'so "get" matches no call: write "GET"'),
    "a method of a set": (permit('["GET", "Post"].contains(context.method)'), 'write "POST"'),
    "a path that ends nowhere": (permit('context.path like "/v1*"'), '"/v1*" also matches names that merely begin'),
    "a host that ends nowhere": (permit('context.url like "https://h.example*"'), 'end it with "/*"'),
    "a permit of everything": (permit(scope="principal, action, resource"), "names neither a module nor a host"),
    "a permit of everything by https": (
        permit('resource.scheme == "https"', "principal, action, resource"),
        "names neither a module nor a host",
    ),
    "a forbid too": (
        'forbid (principal, action, resource) when { context.method == "delete" };',
        "policy 0, line 1, column 63: a method",
    ),
    "the second policy, by its id": (
        permit() + '\n\n@id("late") ' + permit('context.method == "put"'),
        'policy 1 (@id "late"), line 3, column',
    ),
}

GOOD = [
    "",
    "// nothing",
    permit(),
    permit('context.method == "GET" && ["GET", "POST"].contains(context.method)'),
    permit('resource.path == "/v1" || resource.path like "/v1/*" || context.query like "a*"'),
    permit('context.url like "https://h.example/*" && context.path like "*"'),
    permit('context.labels.hasTag("get") && context.labels.getTag("get") == "post"'),
    permit('principal.digest == "sha256:0"', "principal, action, resource"),
    permit('principal.digest like "sha256:*"'),
    '@id("Permit.Everything") @note("get") forbid (principal, action, resource);',
    permit(f'context.method == "GET" {"// get"}\n'),
]


@pytest.mark.parametrize(("text", "said"), WARNED.values(), ids=WARNED.keys())
def test_what_is_most_likely_not_meant_is_warned_of(text: str, said: str) -> None:
    judgement = judge_policy(text, cluster=False)
    assert judgement.check.valid, judgement.check.message
    assert len(judgement.warnings) == 1, judgement.warnings
    assert said in judgement.warnings[0]


@pytest.mark.parametrize("text", GOOD)
def test_a_good_policy_has_no_warning(text: str) -> None:
    judgement = judge_policy(text, cluster=False)
    assert judgement.check.valid, judgement.check.message
    assert judgement.warnings == ()


def test_a_permit_of_the_cluster_binds_a_build_or_a_namespace() -> None:
    assert "counts in every namespace" in judge_policy(permit(), cluster=True).warnings[0]
    for bound in ('principal.digest == "sha256:0"', 'principal.namespace == "a"', 'context.namespace == "a"'):
        assert judge_policy(permit(bound), cluster=True).warnings == ()
    assert judge_policy("forbid (principal, action, resource);", cluster=True).warnings == ()


def test_an_invalid_text_has_its_error_and_no_warning() -> None:
    judgement = judge_policy(permit('context.verb == "get"'), cluster=True)
    assert not judgement.check.valid
    assert judgement.warnings == ()


def test_warnings_are_few_and_short() -> None:
    host = "H" * 500
    text = permit(scope=f'{MODULE}, action, resource == HttpEndpoint::"{host}"') * 50
    warnings = judge_policy(text, cluster=False).warnings
    assert len(warnings) == MAX_WARNINGS + 1
    assert warnings[-1] == "and 40 warnings more"
    assert max(map(len, warnings)) <= MAX_WARNING_CHARS


def test_the_documented_policies_are_as_the_documentation_advises() -> None:
    docs = Path(__file__).parents[3] / "docs"
    texts = [
        text
        for page in sorted(docs.rglob("*.md"))
        for text in re.findall(r"```cedar\n(.*?)```", page.read_text(), re.S)
    ]
    assert len(texts) >= 4
    warned = {text: found for text in texts if (found := judge_policy(text, cluster=False).warnings)}
    assert warned == {}
