"""check_policy: what is valid, and how an error names its policy, line and remedy."""

import pytest

from curation.authz.cedar_schema import SCHEMA_TEXT
from curation.authz.policy_check import check_policy

ALL = "permit (principal, action, resource);"

VALID = {
    "one": (ALL, 1, "1 policy"),
    "two": (ALL + ALL, 2, "2 policies"),
    "none": ("", 0, "no policies: this text permits and forbids nothing"),
    "only a comment": ("// nothing yet", 0, "no policies: this text permits and forbids nothing"),
    "every attribute of the schema": (
        'permit (principal == Agent::"m", action == Action::"http_call", resource == HttpEndpoint::"h.example") when {'
        'principal.namespace == "n" && principal.digest like "sha256:*" && resource.scheme == "https" &&'
        'resource.host == "h" && resource.port < 1024 && resource.path like "/v1/*" && context.namespace == "n" &&'
        'context.job == "j" && context.module == "m" && ["GET", "POST"].contains(context.method) &&'
        'context.url like "https://*" && context.path == resource.path && context.query == "" &&'
        'context.trigger != "Cancel" && context.generation > 0 && context.attempt <= 3 &&'
        'context.labels.hasTag("team") && context.labels.getTag("team") == "a" };',
        1,
        "1 policy",
    ),
}

INVALID = {
    "unknown attribute": (
        ALL + '\n@id("x")\nforbid (principal, action, resource) when { context.verb == 1 };',
        "ValidationError",
        'policy 1 (@id "x"), line 3, column 53: attribute `verb` in context',
    ),
    "wrong type": (
        "permit (principal, action, resource) when { context.method == 3 };",
        "ValidationError",
        "policy 0, line 1, column 1: the types Long and String are not compatible",
    ),
    "unknown entity type": (
        'permit (principal == User::"a", action, resource);',
        "ValidationError",
        "unrecognized entity type `User`",
    ),
    "unknown action": (
        'permit (principal, action == Action::"read", resource);',
        "ValidationError",
        'unrecognized action `Action::"read"`',
    ),
    "a label that may not be there": (
        'permit (principal, action, resource) when { context.labels.getTag("a") == "b" };',
        "ValidationError",
        "unable to guarantee safety of access to tag",
    ),
    "a template": (
        "forbid (principal == ?principal, action, resource);",
        "ValidationError",
        "policy 0, line 1, column 1: a template (?principal or ?resource) decides nothing here",
    ),
    "a second policy that does not parse": (
        ALL + '\n\n@id("late") permit (principal, action, resource) whn { true };' + ALL,
        "ParseError",
        'policy 1 (@id "late"), line 3, column 50: invalid policy condition: whn',
    ),
    "an unterminated string": ('permit (principal, action, resource) when { "', "ParseError", "policy 0, line 1"),
    "an unclosed bracket": ("permit (principal, action, resource", "ParseError", "unexpected end of input"),
    "no Cedar at all": ("apiVersion: v1", "ParseError", "policy 0, line 1, column 11: unexpected"),
    "an annotation twice": (
        '@id("a") @id("b") permit (principal, action, resource);',
        "ParseError",
        "duplicate annotation",
    ),
    "too deep": (
        "permit(principal,action,resource)when{" + "(" * 9999,
        "ParseError",
        "line 1, column 102: brackets nest deeper",
    ),
    "not Unicode": (ALL + "\ud800", "ParseError", "not Unicode"),
}


@pytest.mark.parametrize(("text", "count", "message"), VALID.values(), ids=VALID.keys())
def test_a_valid_text_is_counted(text: str, count: int, message: str) -> None:
    check = check_policy(text)
    assert (check.valid, check.reason, check.count, check.message) == (True, "Valid", count, message)


@pytest.mark.parametrize(("text", "reason", "message"), INVALID.values(), ids=INVALID.keys())
def test_an_invalid_text_is_named_with_its_policy(text: str, reason: str, message: str) -> None:
    check = check_policy(text)
    assert (check.valid, check.reason) == (False, reason)
    assert message in check.message
    assert "policy0" not in check.message


def test_many_errors_make_a_short_message() -> None:
    check = check_policy("permit (principal, action, resource) when { context.nothing };" * 500)
    assert check.message.endswith("; and 495 more")
    assert len(check.message) < 2048


def test_a_giant_type_in_an_error_is_cut() -> None:
    record = ",".join(f"a{i}:1" for i in range(5000))
    check = check_policy(f"permit (principal, action, resource) when {{ {{{record}}} == 1 }};")
    assert check.reason == "ValidationError"
    assert len(check.message) < 400


def test_the_documented_schema_is_the_one_in_force() -> None:
    from pathlib import Path

    documented = Path(__file__).parents[3] / "docs" / "cedar" / "curation.cedarschema"
    assert documented.read_text(encoding="utf-8") == SCHEMA_TEXT


SCOPE = "permit (principal, action, resource)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SCOPE, "line 1, column 36: unexpected end of input; is a semicolon missing at its end?"),
        (
            f"{SCOPE}\n  when {{ true }}\n",
            "line 2, column 15: unexpected end of input; is a semicolon missing at its end?",
        ),
        (f"{SCOPE}\n{SCOPE};", "line 2, column 1: unexpected token `(`; is a semicolon missing before permit?"),
        (f'{SCOPE}\n\n@id("b")\n{SCOPE};', "line 3, column 1: unexpected token `@`; is a semicolon missing before it?"),
        ("permit (\n  principal", "line 2, column 3: unexpected end of input"),
        (f"{SCOPE} when {{\n  context.path ==\n}};", "line 3, column 1: unexpected token `}`"),
        (f'{SCOPE} when {{\n  context.path = "/x"\n}};', "line 2, column 16: '=' is not a valid operator in Cedar"),
        (
            "permit (\n  principal,\n  action,\n  resourse\n);",
            "line 4, column 3: found an invalid variable in the policy scope",
        ),
        (f"{SCOPE};\n\n{SCOPE}\nwhen {{ foo }};", "line 4, column 8: invalid variable: foo"),
    ],
)
def test_a_parse_error_gives_its_own_place_and_asks_about_a_missing_semicolon(text: str, said: str) -> None:
    check = check_policy(text)
    assert check.reason == "ParseError"
    assert said in check.message
    assert ("semicolon" in check.message) == ("semicolon" in said)
