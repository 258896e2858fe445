"""The scan: what it bounds, what it must not mistake, and where it finds the policies of a text."""

import pytest

from curation.authz.scan import MAX_BRACKETS, MAX_IFS, MAX_MEMBER_CHAIN, MAX_OPERATORS, MAX_SEARCHED, ScanRefused, scan


def policy(expression: str) -> str:
    return f"permit (principal, action, resource) when {{{expression}}};"


WITHIN = {
    "as many brackets as allowed": policy("(" * (MAX_BRACKETS - 1) + "true" + ")" * (MAX_BRACKETS - 1)),
    "as many ifs as allowed": policy("if true then true else " * MAX_IFS + "true"),
    "as many operators as allowed": policy(" && ".join(["true"] * (MAX_OPERATORS + 1))),
    "as many operators again in a second policy": 2 * policy(" || ".join(["true"] * (MAX_OPERATORS + 1))),
    "as many members as allowed": policy("context" + ".a" * MAX_MEMBER_CHAIN),
    "members of many values": policy(" || ".join(['context.labels.hasTag("a")'] * 500)),
    "brackets in a string": policy(f'context.path == "{"(" * 500}"'),
    "brackets in a string after an escaped quote": policy(f'context.path == "\\"{"(" * 500}"'),
    "brackets in a comment": f"// {'(' * 500}\n{policy('true')}",
    "ifs in a string": policy(f'context.path == "{"if " * 500}"'),
    "words that begin with if": policy(" || ".join(["context.iffy"] * 500)),
    "patterns that search as much as allowed": policy(f'context.path like "*{"a" * (MAX_SEARCHED - 1)}"'),
    "long patterns that begin with what they mean": policy(f'context.path like "{"/a" * 4000}/*"'),
    "stars in a string that is no pattern": policy(f'context.path == "{"*a" * 4000}"'),
    "many flat brackets": policy(" || ".join(['["a"].contains(context.method)'] * 500)),
    "sets after one another are no index": policy(" || ".join(["[1] == [1]"] * 500)),
}

OVER = {
    "brackets": (
        policy("\n" + "(" * MAX_BRACKETS + "true" + ")" * MAX_BRACKETS),
        "line 2, column 64: brackets nest deeper than 64",
    ),
    "brackets of all kinds": (policy("([{a:" * 22), "brackets nest deeper"),
    "brackets after a comment that a carriage return ends": (
        policy("// \r" + "(" * MAX_BRACKETS),
        "brackets nest deeper",
    ),
    "brackets after a string with an escaped backslash": (
        policy('"\\\\" == "" || ' + "(" * 64),
        "brackets nest deeper",
    ),
    "ifs": (policy("if true then true else " * (MAX_IFS + 1) + "true"), "more than 256 `if`"),
    "ifs over several policies": (2 * policy("if true then true else " * 200 + "true"), "more than 256 `if`"),
    "operators": (policy(" && ".join(["true"] * (MAX_OPERATORS + 2))), 'use a set: ["a", "b"].contains(resource.host)'),
    "members": (policy("context" + ".a" * (MAX_MEMBER_CHAIN + 1)), "more than 16 members"),
    "members by index": (policy("context" + '["a"]' * (MAX_MEMBER_CHAIN + 1)), "more than 16 members"),
    "members by calls": (policy("context" + '.getTag("a")' * (MAX_MEMBER_CHAIN + 1)), "more than 16 members"),
    "members after has": (policy("context has a" + ".a" * (MAX_MEMBER_CHAIN + 1)), "more than 16 members"),
    "members behind brackets": (policy("(context.a)" + ".a" * (MAX_MEMBER_CHAIN + 1)), "more than 16 members"),
    "patterns that search": (policy(f'context.path like "*{"a" * MAX_SEARCHED}b"'), "after the first * of `like`"),
    "patterns that search, over several policies": (
        3 * policy(f'context.path like // a comment\n "*{"a" * 700}"'),
        "line 4, column 2: more than 2048 characters after the first *",
    ),
    "bytes": ("// " + "é" * 33_000, "the text has 66003 bytes, 65536 are allowed"),
    "no Unicode": ("\ud800", "not Unicode"),
}


@pytest.mark.parametrize("text", WITHIN.values(), ids=WITHIN.keys())
def test_what_is_within_the_bounds_passes(text: str) -> None:
    scan(text)


@pytest.mark.parametrize(("text", "message"), OVER.values(), ids=OVER.keys())
def test_what_is_over_a_bound_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ScanRefused) as refused:
        scan(text)
    assert message in str(refused.value)


def test_the_policies_of_a_text_are_found_with_their_line_and_id() -> None:
    text = '\n@id("first") // ;\npermit (principal, action, resource);\n\n\nforbid (principal, action, resource)\n'
    text += 'when { context.path like "*;*" };@reason("x") @id("third") permit(principal,action,resource);'
    assert [(found.line, found.id) for found in scan(text)] == [(2, "first"), (6, None), (7, "third")]
    assert [text[found.start : found.end][-2:] for found in scan(text)] == [");", "};", ");"]


@pytest.mark.parametrize("value", ["", 'a\\"b', "a\u202eb", "a\nb", "a#b", "x" * 129])
def test_an_id_that_could_mislead_does_not_name_a_policy(value: str) -> None:
    assert scan(f'@id("{value}") permit(principal,action,resource);')[0].id is None
