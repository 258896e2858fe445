"""The policies that the documentation shows are valid."""

import re
from pathlib import Path

from curation.authz.policy_check import check_policy

README = Path(__file__).parents[3] / "docs" / "cedar" / "README.md"


def test_every_policy_shown_is_valid() -> None:
    shown = re.findall(r"```cedar\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(shown) >= 4
    assert [check_policy(text).message for text in shown] == ["1 policy"] * len(shown)
