"""The memory limit of a cgroup, read from files of the form that the kernel gives."""

from pathlib import Path

import pytest

from curation.isolation.cgroup import memory_kills, memory_limit


def cgroups(folder: Path, own: str, **limits: str) -> tuple[Path, Path]:
    """The root, and what says which is this process's; limits by the path below the root, `_` for a slash."""
    root = folder / "cgroup"
    root.mkdir()
    for name, limit in limits.items():
        place = root.joinpath(*filter(None, name.split("_")))
        place.mkdir(parents=True, exist_ok=True)
        (place / "memory.max").write_text(f"{limit}\n")
    file = folder / "own"
    file.write_text(own)
    return root, file


def test_a_container_sees_its_own_limit_at_the_root(tmp_path: Path) -> None:
    assert memory_limit(*cgroups(tmp_path, "0::/\n", _="4294967296")) == 4 << 30


def test_the_least_limit_of_those_above_counts(tmp_path: Path) -> None:
    found = cgroups(tmp_path, "0::/slice/unit\n", slice="1000", slice_unit="2000", other="10")
    assert memory_limit(*found) == 1000


@pytest.mark.parametrize("own", ["0::/a\n", "", "0::/../..\n", "5:pids:/a\n", "nonsense\n"])
def test_without_a_limit_there_is_none(tmp_path: Path, own: str) -> None:
    assert memory_limit(*cgroups(tmp_path, own, a="max")) is None


@pytest.mark.parametrize(("limit", "found"), [("1000", 1000), ("9223372036854771712", None)])
def test_where_version_1_counts_memory_its_limit_counts(tmp_path: Path, limit: str, found: int | None) -> None:
    root, own = cgroups(tmp_path, "8:pids:/kubepods/x\n5:cpu,memory:/kubepods/x\n0::/\n", _="10")
    (root / "memory").mkdir()
    (root / "memory" / "memory.limit_in_bytes").write_text(f"{limit}\n")
    assert memory_limit(root, own) == found


def test_where_there_are_no_cgroups_there_is_none(tmp_path: Path) -> None:
    assert memory_limit(tmp_path / "no", tmp_path / "such") is None


def test_whom_the_kernel_has_ended_for_want_of_memory_is_counted_in_either_version(tmp_path: Path) -> None:
    assert memory_kills(tmp_path) == 0, "nobody says so"
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    assert memory_kills(tmp_path) == 2
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 7\noom 1\noom_kill 1\noom_group_kill 0\n")
    assert memory_kills(tmp_path) == 1
