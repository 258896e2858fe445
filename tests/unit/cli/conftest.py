from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cache_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What another version of the code has compiled or accepted says nothing about this one."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache_of_this_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands keep what they have compiled there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_of_this_run))
