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


def test_the_depth_is_that_of_one_value_not_of_all_together() -> None:
    assert yaml_text.load("[" + ", ".join(["[[1]]"] * 200) + "]") == [[[1]]] * 200
    assert list(yaml_text.load_all("a: {b: [1]}\n---\n" * 200))[199] == {"a": {"b": [1]}}
