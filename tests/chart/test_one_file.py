"""`make release`: each overlay in one file installs what the overlay installs, and the other files are whole."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from hack import release
from testing.controlplane.server import ControlPlane
from tests.chart.conftest import ROOT, Helm

_OVERLAYS = sorted(folder.name for folder in (ROOT / "manifests" / "overlays").iterdir())
_IMAGE = "registry.example.com:5000/team/curation-operator:9.9.9"


@pytest.fixture(scope="module")
def dist(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make release IMAGE=...` makes."""
    target = tmp_path_factory.mktemp("release") / "dist"
    command = [sys.executable, "-m", "hack.release", "--image", _IMAGE, "--out", str(target), "--without-plugin"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1500, check=False)
    assert ended.returncode == 0, ended.stderr
    return target


def test_a_release_has_all_that_needs_no_registry(dist: Path) -> None:
    manifests = {release.file_of(overlay) for overlay in _OVERLAYS}
    others = {"SHA256SUMS", "curation-operator-0.1.0.tgz", "curation_operator-0.1.0-py3-none-any.whl"}
    assert {path.name for path in dist.iterdir()} == manifests | others
    lines = [line.split("  ") for line in (dist / "SHA256SUMS").read_text().splitlines()]
    assert {name for _, name in lines} == manifests | others - {"SHA256SUMS"}
    for digest, name in lines:
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest
    with zipfile.ZipFile(dist / "curation_operator-0.1.0-py3-none-any.whl") as wheel:
        assert "kubectl-curation" in wheel.read("curation_operator-0.1.0.dist-info/entry_points.txt").decode()


@pytest.mark.parametrize("overlay", _OVERLAYS)
def test_an_overlay_in_one_file_installs_what_the_overlay_installs(overlay: str, dist: Path) -> None:
    served = ["--runtime-config=admissionregistration.k8s.io/v1beta1=true"] if "v1beta1" in overlay else []
    file = dist / release.file_of(overlay)
    assert f"image: {_IMAGE}\n" in file.read_text()
    with ControlPlane(arguments=served, controller_manager=False) as server:
        server.kubectl("apply", "--server-side", "--validate=strict", "-f", str(file))
        server.kubectl("set", "image", "deployment/curation-operator", "-n", "curation-system", "operator=x")
        # All else is as the overlay has it. diff ends with 1 when there is a difference.
        folder = str(ROOT / "manifests" / "overlays" / overlay)
        different = server.kubectl("diff", "--server-side", "--force-conflicts", "-k", folder, check=False).stdout
        lines = [line for line in different.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")]
        assert {line[1:].strip().partition(" ")[0] for line in lines} <= {"image:", "generation:", "-"}, different


def test_the_chart_of_a_release_names_its_image(dist: Path, offline: Helm) -> None:
    text = offline("template", "x", str(dist / "curation-operator-0.1.0.tgz"), "--kube-version", "1.37.2").stdout
    assert f'image: "{_IMAGE}"\n' in text


def test_the_chart_of_a_release_names_its_image_by_digest(tmp_path: Path) -> None:
    digest = f"sha256:{'0' * 64}"
    made = release.chart(tmp_path, release.image_of(f"r.example.com/n@{digest}"))
    image = yaml.safe_load((made / "values.yaml").read_text())["image"]
    assert image == {"repository": "r.example.com/n", "tag": "", "digest": digest, "pullPolicy": ""}


@pytest.mark.parametrize("reference", ["curation-operator", "r.example.com:5000/name", "a@sha256:12", "a b:c", ":tag"])
def test_an_image_without_tag_or_digest_is_refused(reference: str) -> None:
    with pytest.raises(release.ReleaseError, match="names no tag and no digest: give NAME:TAG"):
        release.image_of(reference)


def test_an_image_is_named_by_tag_or_digest() -> None:
    digest = f"sha256:{'0' * 64}"
    name = {"name": "curation-operator", "newName": "r:5000/n"}
    assert release.image_of("r:5000/n:1") == {**name, "newTag": "1"}
    assert release.image_of(f"r:5000/n@{digest}") == {**name, "digest": digest}


def test_a_release_replaces_a_release_and_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(release.ReleaseError, match=r"has thesis\.txt, which is of no release: remove it, or give"):
        release.release(tmp_path, None)
    (tmp_path / "SHA256SUMS").write_text("0  install.yaml\n")
    with pytest.raises(release.ReleaseError, match=r"thesis\.txt"):
        release.release(tmp_path, None)
    with pytest.raises(release.ReleaseError, match="is no folder"):
        release.release(tmp_path / "thesis.txt", None)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_release_leaves_the_folders_of_other_targets(tmp_path: Path) -> None:
    for name in ("chart", "plugin"):
        (tmp_path / name).mkdir()
    for name in ("install.yaml", "SHA256SUMS"):
        (tmp_path / name).write_text("0  install.yaml\n")
    assert release._earlier(tmp_path) == [tmp_path / "SHA256SUMS", tmp_path / "install.yaml"]
