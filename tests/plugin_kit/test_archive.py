"""The archive of kubectl-curation: it runs where there is no Python, and the real krew installs it for kubectl."""

import json
import subprocess
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

from hack.krew import archive, manifest
from testing.controlplane.build import find_or_build
from testing.controlplane.connection import Connection
from tests.oracles import go_programs, krew

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
SECONDS = 120.0


@pytest.fixture(scope="session")
def packed() -> Path:
    """As `make plugin` has made it."""
    system, architecture = archive.platform_here()
    path = ROOT / "dist" / "plugin" / f"{archive.NAME}-{VERSION}-{system}-{architecture}.tar.gz"
    if not path.is_file():
        pytest.skip("the archive is not there: make plugin")
    return path


@pytest.fixture(scope="session")
def program(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(packed) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.NAME / archive.NAME


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """With nothing on the PATH, and no variable but these."""
    return subprocess.run(
        command, env={"PATH": "", **environment}, capture_output=True, text=True, timeout=SECONDS, check=False
    )


def test_it_runs_without_python_and_says_what_the_package_says(program: Path, tmp_path: Path) -> None:
    assert run(str(program), "--version").stdout == f"kubectl-curation, version {VERSION}\n"
    good, bad = tmp_path / "good.cedar", tmp_path / "bad.cedar"
    good.write_text('permit (principal == Agent::"m", action, resource == HttpEndpoint::"h.example");')
    bad.write_text("permit (principal, action, resourse);")
    assert run(str(program), "check-policy", str(good)).returncode == 0
    said = run(str(program), "check-policy", str(bad))
    assert (said.returncode, "line 1, column 28" in said.stderr) == (1, True), said.stderr


def test_it_talks_to_the_api_server(program: Path, installed: Connection, namespace: str) -> None:
    job = {
        "apiVersion": "curation.dev/v1alpha1",
        "kind": "CurationJob",
        "metadata": {"name": "j", "namespace": namespace},
        "spec": {"moduleRef": {"name": "nobody"}},
    }
    installed.kubectl("create", "-f", "-", input=json.dumps(job))
    kubeconfig = installed.environment()["KUBECONFIG"]
    said = run(str(program), "why", "j", "-n", namespace, KUBECONFIG=kubeconfig)
    assert f"{namespace}/j" in said.stdout, said.stderr
    assert run(str(program), "approvals", "-n", namespace, KUBECONFIG=kubeconfig).returncode == 0


def test_what_it_starts_finds_its_own_libraries(program: Path, installed: Connection, tmp_path: Path) -> None:
    """A login program, which the kubeconfig names."""
    seen = tmp_path / "seen"
    login = tmp_path / "login"
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t"}}
    login.write_text(f"#!/bin/sh\necho \"[$LD_LIBRARY_PATH]\" > {seen}\necho '{json.dumps(answer)}'\n")
    login.chmod(0o700)
    config = yaml.safe_load(Path(installed.environment()["KUBECONFIG"]).read_text())
    command = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(login),
        "interactiveMode": "Never",
    }
    config["users"] = [{"name": each["name"], "user": {"exec": command}} for each in config["users"]]
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config))
    run(str(program), "approvals", KUBECONFIG=str(kubeconfig), LD_LIBRARY_PATH="/of/the/person")
    assert seen.read_text() == "[/of/the/person]\n"


def test_krew_installs_it_and_kubectl_runs_it(packed: Path, installed: Connection, tmp_path: Path) -> None:
    try:
        installer = krew.program()
    except go_programs.CannotBuild as reason:
        pytest.skip(str(reason))
    file = tmp_path / manifest.FILE
    url = f"https://example.com/owner/name/releases/download/v{VERSION}"
    file.write_text(manifest.manifest(VERSION, [packed], url))
    kubectl = find_or_build(controllers=False).kubectl
    path = f"{tmp_path / 'krew' / 'bin'}:{kubectl.parent}:/usr/bin:/bin"
    environment = {"KREW_ROOT": str(tmp_path / "krew"), "HOME": str(tmp_path), "PATH": path}
    done = run(str(installer), "install", f"--manifest={file}", f"--archive={packed}", **environment)
    assert done.returncode == 0, done.stderr
    assert "Installed plugin: curation" in done.stderr
    said = run(str(kubectl), "curation", "--version", **environment)
    assert said.stdout == f"kubectl-curation, version {VERSION}\n", said.stderr
    listed = run(
        str(kubectl), "curation", "approvals", "-A", **environment, KUBECONFIG=installed.environment()["KUBECONFIG"]
    )
    assert listed.returncode == 0, listed.stderr
