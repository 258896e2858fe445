"""`make e2e`, with a node kit whose programs only write down that they were called."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hack.e2e.target import KIT_COMMANDS, ROOT

TAG = "curation-operator:e2e"


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """A kit: each program appends its name and arguments to `calls`; `exec` runs what it is given."""
    folder = tmp_path / "kit"
    folder.mkdir()
    for name in KIT_COMMANDS:
        program(folder, name, 'exec "$@"' if name == "exec" else "")
    return folder


def program(kit: Path, name: str, does: str) -> None:
    file = kit / name
    record = 'echo "$(basename "$0") $*" >> "$(dirname "$0")/calls"' if name != "exec" else ""
    file.write_text(f"#!/bin/sh\n{record}\n{does}\n", encoding="utf-8")
    file.chmod(0o755)


def calls(kit: Path) -> list[str]:
    return [line.strip() for line in (kit / "calls").read_text(encoding="utf-8").splitlines()]


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("KUBECONFIG", "CURATION_E2E_IMAGE")}
    return subprocess.run(
        [sys.executable, "-m", "hack.e2e", *arguments],
        cwd=ROOT,
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


UP = [
    "build",
    "image-base",
    f"image-build {ROOT} {TAG} --build-arg BASE=python:3.11-slim --build-arg ALLOW_TAG=1",
    f"image-build {ROOT} curation-sessions:e2e --target sessions --build-arg BASE=python:3.11-slim"
    " --build-arg ALLOW_TAG=1",
    "up",
]


def test_a_kit_is_brought_up_and_down_around_the_tests(kit: Path) -> None:
    done = run("--node", str(kit), "--collect-only", "-q")
    assert done.returncode == 0, done.stderr
    assert calls(kit) == [*UP, "down"]
    assert "test_both_replicas_are_ready_and_exactly_one_leads" in done.stdout
    assert f"localhost/{TAG}" in done.stdout


def test_the_exit_code_is_that_of_the_tests_and_the_node_goes_down(kit: Path) -> None:
    done = run("--node", str(kit), "--collect-only", "-q", "-k", "no_such_test")
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert calls(kit)[-1] == "down"


def test_a_node_that_does_not_come_up_is_taken_down_and_no_test_runs(kit: Path) -> None:
    program(kit, "up", "exit 7")
    done = run("--node", str(kit))
    assert done.returncode == 2
    assert calls(kit) == [*UP, "down"]
    assert "error: the node kit's up ended with 7" in done.stderr
    assert "test session starts" not in done.stdout


def test_a_stop_while_the_node_comes_up_takes_it_down(kit: Path) -> None:
    program(kit, "up", 'touch "$(dirname "$0")/is-starting"\nexec sleep 60')
    with subprocess.Popen([sys.executable, "-m", "hack.e2e", "--node", str(kit)], cwd=ROOT) as process:
        deadline = time.monotonic() + 60
        while not (kit / "is-starting").exists():
            assert time.monotonic() < deadline, "the kit was not asked to start the node"
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 130
    assert calls(kit) == [*UP, "down"]


def test_keep_leaves_the_node_up(kit: Path) -> None:
    assert run("--node", str(kit), "--keep", "--collect-only").returncode == 0
    assert calls(kit) == UP


def test_a_folder_that_is_no_kit_is_refused_with_what_is_missing(kit: Path) -> None:
    (kit / "up").unlink()
    done = run("--node", str(kit))
    assert done.returncode == 2
    assert "has no program up" in done.stderr
    assert not (kit / "calls").exists()


def test_without_a_kit_and_an_image_it_says_what_to_give() -> None:
    done = run()
    assert done.returncode == 2
    assert "make e2e NODE=" in done.stderr
    assert "make e2e IMAGE=" in done.stderr


@pytest.mark.parametrize("image", ["curation-operator", "registry.example.com:5000/curation-operator"])
def test_an_image_without_a_version_is_refused(image: str) -> None:
    done = run("--image", image)
    assert done.returncode == 2
    assert f"IMAGE={image} has no tag and no digest" in done.stderr


def test_an_image_without_a_cluster_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kubectl").write_text('#!/bin/sh\necho "error: current-context is not set" >&2\nexit 1\n')
    (tmp_path / "kubectl").chmod(0o755)
    done = run("--image", "curation-operator:0.1.0", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 2
    assert "current-context is not set; set KUBECONFIG" in done.stderr


def test_without_a_cluster_the_tests_are_skipped_and_say_why() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "CURATION_E2E_IMAGE"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/e2e", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    assert "no cluster with a real node: run `make e2e NODE=" in done.stdout
    assert " passed" not in done.stdout
