"""YAML as people write it, nested as deep as nobody does."""

import sys
from collections.abc import Iterator

import pytest
import yaml

from curation.cluster import yaml_text
from curation.cluster.bounds import RECURSION_LIMIT


@pytest.fixture(autouse=True)
def limit_of_the_programs() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(RECURSION_LIMIT)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize("text", ["[" * 20_000 + "]" * 20_000, "{a: " * 20_000, "- " * 20_000 + "a"])
def test_what_is_nested_too_deep_is_refused_before_it_is_read_whole(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="nested more than 100 levels deep"):
        yaml_text.load(text)
    with pytest.raises(yaml.YAMLError, match="nested more than 100 levels deep"):
        list(yaml_text.load_all("a: 1\n---\n" + text))


def _doubled(first: str, each: str, levels: int = 40) -> str:
    return first + "".join(each.format(this=n, last=n - 1) for n in range(1, levels))


@pytest.mark.parametrize(
    "text",
    [
        _doubled("a0: &a0 [1]\n", "a{this}: &a{this} [*a{last}, *a{last}]\n"),
        _doubled("a0: &a0 {k: 1}\n", "a{this}: &a{this} {{<<: [*a{last}, *a{last}]}}\n"),
        "a: &a " + "x" * 100_000 + "\nb: [" + "*a, " * 100 + "]",
    ],
    ids=["lists", "merges", "one long text"],
)
def test_what_aliases_repeat_is_bounded_before_it_is_made(text: str) -> None:
    for read in (yaml_text.load, lambda given: list(yaml_text.load_all(given))):
        with pytest.raises(yaml.YAMLError, match="its aliases repeat more than 1048576 values"):
            read(text)


def test_an_alias_within_what_it_names_is_refused_and_others_are_not() -> None:
    with pytest.raises(yaml.YAMLError, match="an alias is within what it names"):
        yaml_text.load("&a [*a]")
    assert yaml_text.load("base: &a {x: 1}\nother: {<<: *a, y: *a}") == {
        "base": {"x": 1},
        "other": {"x": 1, "y": {"x": 1}},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 0x" + "f" * 6000, "a number has 6002 characters, 400 are allowed"),
        ("a: 1" + ":1" * 300_000, "a number has 600001 characters"),
        ("? 1." + "0" * 500 + "\n: 1", "a number has"),
        ("a: !!bool x", "it is no bool"),
        ('a: !!int ""', "it is no int"),
        ("a: !!timestamp x", "it is no timestamp"),
        ("a: 2020-13-01", "it is no timestamp"),
        ('a: "\\ud800"', "a lone surrogate"),
        ("a: !!python/name:os.system x", "could not determine a constructor"),
    ],
)
def test_a_value_that_means_nothing_is_an_error_of_the_text(text: str, said: str) -> None:
    for read in (yaml_text.load, lambda given: list(yaml_text.load_all(given))):
        with pytest.raises(yaml.YAMLError, match=said):
            read(text)


def test_a_key_that_is_given_twice_is_refused_where_people_write_documents() -> None:
    with pytest.raises(yaml.YAMLError, match="the key 'a' is given twice"):
        list(yaml_text.load_all("x: {a: 1, b: 2, a: 3}"))
    # kubectl takes such a kubeconfig.
    assert yaml_text.load("x: {a: 1, a: 3}") == {"x": {"a": 3}}


def test_the_depth_is_that_of_one_value_not_of_all_together() -> None:
    assert yaml_text.load("[" + ", ".join(["[[1]]"] * 200) + "]") == [[[1]]] * 200
    assert list(yaml_text.load_all("a: {b: [1]}\n---\n" * 200))[199] == {"a": {"b": [1]}}
