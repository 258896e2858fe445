"""What a module reads where an answer repeats the credentials that the host has added."""

from itertools import permutations

import pytest

from curation.execution.origin_credentials import MASK, masked

SHORT, LONG, OTHER = "s3cr3t-token", "s3cr3t-token-and-more", "Bearer s3cr3t-token-of-another"


@pytest.mark.parametrize("values", list(permutations([SHORT, LONG, OTHER])))
def test_a_credential_that_another_begins_with_leaves_nothing_of_it_readable(values: tuple[str, ...]) -> None:
    said = f"a={SHORT}&b={LONG}&c={OTHER}&d={OTHER.removeprefix('Bearer ')}"
    assert masked(said, values) == f"a={MASK}&b={MASK}&c={MASK}&d={MASK}"
