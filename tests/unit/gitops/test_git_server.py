"""The repository that the kit serves to Flux is one that git itself can clone and fetch from."""

import subprocess
from pathlib import Path

from testing.gitops.build import FLUX
from testing.gitops.repository import Repository


def git(*words: str, cwd: Path) -> str:
    return subprocess.run(["git", *words], cwd=cwd, check=True, capture_output=True, text=True).stdout


def test_each_commit_can_be_fetched_and_a_file_that_is_left_out_is_gone(tmp_path: Path) -> None:
    with Repository() as repository:
        repository.write({"jobs/a.yaml": "a", "jobs/b.yaml": "b"})
        first = repository.commit("first")
        git("clone", "--quiet", "--branch=main", repository.url, "clone", cwd=tmp_path)
        clone = tmp_path / "clone"
        assert git("rev-parse", "HEAD", cwd=clone).strip() == first
        repository.write({"jobs/a.yaml": "c"})
        second = repository.commit("second")
        assert second != first
        git("pull", "--quiet", cwd=clone)
        assert git("rev-parse", "HEAD", cwd=clone).strip() == second
        assert [path.name for path in (clone / "jobs").iterdir()] == ["a.yaml"]
        assert (clone / "jobs" / "a.yaml").read_text() == "c"
        folder = repository.work.parent
    assert not folder.exists()


def test_the_name_of_a_build_depends_on_what_decides_its_content(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "go.mod").write_text(name)
        (tmp_path / name / "go.sum").write_text("")
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    one, two = (FLUX.folder(environ, tmp_path / name) for name in ("one", "two"))
    assert one != two
    assert one.parent == two.parent == tmp_path / "curation-operator"
