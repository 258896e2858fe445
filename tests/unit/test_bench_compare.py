"""The arithmetic of a comparison of two builds, and the sources of another commit."""

import subprocess
from pathlib import Path

import pytest

from bench.builds import LOCK, of_commit
from bench.compare import KINDS, PROGRAMS, Sample, results, with_sums


def sample(operator: float, server: float, etcd: float) -> Sample:
    """A turn in which jobs without a session cost half of those with one."""
    times = dict(zip(PROGRAMS, (operator, server, etcd), strict=True))
    return with_sums(
        {
            f"{kind}: {name}": time / share
            for kind, share in zip(KINDS, (1, 2), strict=True)
            for name, time in times.items()
        }
    )


def test_the_ratio_is_the_median_of_the_rounds_and_the_spread_is_that_of_their_ratios() -> None:
    """In the second round something else took half of the machine: both builds were slower, and their ratio was not."""
    rounds = [
        (sample(9, 6, 3), sample(10, 8, 3)),
        (sample(36, 24, 12), sample(40, 32, 12)),
        (sample(11, 6, 3), sample(10, 8, 3)),
    ]
    found = {result.name: result.value for result in results(rounds)}
    for kind, share in (("session", 1), ("no session", 2)):
        assert found[f"{kind}: operator, of the other build"] == pytest.approx(0.9)
        assert found[f"{kind}: operator: spread"] == pytest.approx(0.2)
        assert found[f"{kind}: kube-apiserver, of the other build"] == pytest.approx(0.75)
        assert found[f"{kind}: kube-apiserver: spread"] == pytest.approx(0)
        assert found[f"{kind}: etcd, of the other build"] == pytest.approx(1)
        assert found[f"{kind}: all three, of the other build"] == pytest.approx(18 / 21)
        assert found[f"{kind}: operator: this build"] == pytest.approx(11 / share)
        assert found[f"{kind}: all three: the other build"] == pytest.approx(21 / share)


def test_what_is_too_short_to_be_measured_is_said_and_not_divided_by() -> None:
    with pytest.raises(ValueError, match="session: etcd took no processor time that can be measured: give more --jobs"):
        results([(sample(1, 1, 0), sample(1, 1, 0))])


def _git(repository: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(repository), *identity, *arguments], check=True, capture_output=True)


def test_another_commit_is_called_in_a_folder_that_goes_with_it_and_the_checkout_is_left_alone(tmp_path: Path) -> None:
    lock, program = tmp_path / LOCK, tmp_path / "operator" / "program.py"
    for file in (lock, program):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("old\n")
    lock.write_text("none\n")
    program.write_text("def begin(): print('old')\n")
    (tmp_path / "pyproject.toml").write_text('[project.scripts]\ncuration-operator = "program:begin"\n')
    _git(tmp_path, "init")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-m", "old")
    program.write_text("new\n")
    _git(tmp_path, "commit", "-a", "-m", "new")
    program.write_text("not committed\n")
    with of_commit("HEAD~1", tmp_path) as build:
        assert build.environment == [f"PYTHONPATH={build.root}/operator"]
        name, _, value = build.environment[0].partition("=")
        said = subprocess.run(build.program, env={name: value}, check=True, capture_output=True, text=True)
        assert said.stdout == "old\n", "it begins with the function that it had then"
        folder = build.root
    assert not folder.exists()
    assert not folder.parent.exists()
    assert program.read_text() == "not committed\n"


def test_a_commit_that_is_none_is_an_error_that_names_it(tmp_path: Path) -> None:
    _git(tmp_path, "init")
    with pytest.raises(ValueError, match="nothing"), of_commit("nothing", tmp_path):
        pass
