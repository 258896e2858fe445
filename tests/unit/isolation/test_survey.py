"""What `curation-operator sandbox` says of this machine."""

import os
import sys

import pytest
from click.testing import CliRunner

from curation.cli.operator import main
from curation.isolation import survey as surveyed
from curation.isolation.survey import survey


def found(name: str) -> bool:
    return next(each for each in survey() if each.name == name).active


@pytest.mark.skipif(sys.platform != "linux", reason="what other systems give differs")
def test_on_linux_the_walls_that_need_no_right_are_active() -> None:
    for name in ("template", "parent-death signal", "unreadable memory", "sealed fence page", "seccomp"):
        assert found(name), name


def test_a_page_that_can_still_be_written_counts_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surveyed, "F_SEAL_FUTURE_WRITE", 0)
    assert not found("sealed fence page")


def test_root_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    result = CliRunner().invoke(main, ["sandbox"])
    assert result.exit_code == 1
    assert "root: whoever breaks out of a worker is root in this container" in result.output
