"""The manifest for krew names exactly the archives that are released."""

import hashlib
from pathlib import Path

import pytest
import yaml

from hack.krew import archive, manifest

URL = "https://example.com/owner/name/releases/download/v1.2.3"


def test_each_archive_is_a_platform_with_its_address_and_digest(tmp_path: Path) -> None:
    names = [f"kubectl-curation-1.2.3-{each}.tar.gz" for each in ("darwin-arm64", "linux-amd64")]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "SHA256SUMS").write_text("of others")
    made = yaml.safe_load(manifest.manifest("1.2.3", manifest.archives_in(tmp_path), URL))
    assert (made["kind"], made["metadata"]["name"], made["spec"]["version"]) == ("Plugin", "curation", "v1.2.3")
    assert made["spec"]["homepage"] == "https://example.com/owner/name"
    assert [(each["uri"], each["sha256"]) for each in made["spec"]["platforms"]] == [
        (f"{URL}/{name}", hashlib.sha256(name.encode()).hexdigest()) for name in names
    ]
    assert made["spec"]["platforms"][0]["selector"]["matchLabels"] == {"os": "darwin", "arch": "arm64"}
    assert len(made["spec"]["shortDescription"]) <= 50, "krew's index takes no more"


@pytest.mark.parametrize(
    "name", ["kubectl-curation-1.2.4-linux-amd64.tar.gz", "kubectl-curation-1.2.3-plan9-amd64.tar.gz"]
)
def test_an_archive_of_another_release_or_platform_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match=r"is no archive of kubectl-curation 1\.2\.3"):
        manifest.manifest("1.2.3", [tmp_path / name], URL)


def test_without_an_archive_there_is_no_manifest() -> None:
    with pytest.raises(ValueError, match="there is no archive"):
        manifest.manifest("1.2.3", [], URL)


def test_a_platform_without_an_archive_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Windows")
    with pytest.raises(archive.CannotBundle, match="no archive of kubectl-curation for Windows"):
        archive.platform_here()
